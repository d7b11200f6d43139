import { useContext, useEffect, useRef } from 'react'
import type { PortalClient, PortalMeter } from '../client'
import { PortalContext } from '../context'
import { formatBrief, formatDecimal, formatFitting } from '../exact'
import { openWindow, sizeFor, type Span, spanOf, windowStarts } from '../periods'
import { usePolled } from '../polling'
import { emptyTotal, periodKey } from '../usage'
import { AGGREGATIONS, own, type View } from '../viewState'
import { Digits } from './Digits'
import { reveal } from './reveal'

const REFRESH_FACTOR = 6 // cards refresh this many times less often than the chosen meter

/** A total that is already known, with the key (see `cardKey`) of what it is the total of. */
export interface CardTotal {
  key: string
  total: string | null
}

/** Return a text that identifies what a card shows: the meter and the period. */
export function cardKey(meter: PortalMeter, view: View, currentPeriod: Span | undefined): string {
  return JSON.stringify([meter.slug, periodKey(view, currentPeriod)])
}

interface MetersProps {
  client: PortalClient
  meters: PortalMeter[]
  view: View
  chosen: string
  /** Whether the chosen meter is loaded. The cards load after it. */
  ready: boolean
  /** The total of the chosen meter, which refreshes more often: its card must not show an older one. */
  newest: CardTotal | undefined
  onChoose: (slug: string) => void
}

/** The meters that a token allows, to choose from. Each card shows the total and a small chart of the period. */
export function Meters({ chosen, meters, onChoose, ...shared }: MetersProps) {
  return (
    <nav className="mp-meters" aria-label="Meters">
      <ul>
        {meters.map((meter) => (
          <li key={meter.slug}>
            <Card {...shared} meter={meter} chosen={meter.slug === chosen} onChoose={() => onChoose(meter.slug)} />
          </li>
        ))}
      </ul>
    </nav>
  )
}

interface CardProps extends Pick<MetersProps, 'client' | 'view' | 'ready' | 'newest'> {
  meter: PortalMeter
  chosen: boolean
  onChoose: () => void
}

function Card({ client, meter, view, ready, newest, chosen, onChoose }: CardProps) {
  const { units, seconds, currentPeriod, isPeriodPending } = useContext(PortalContext)
  const key = cardKey(meter, view, currentPeriod)
  const { data } = usePolled(
    ready && !isPeriodPending ? key : null,
    async (signal) => {
      const span = spanOf(view.period, view.zone, client.now(), currentPeriod)
      const [windowSize, query] = [sizeFor(span), { from: new Date(span.from), to: new Date(span.to), windowTimeZone: view.zone }]
      const [totals, rows] = await Promise.all([
        client.usage(meter.slug, query, signal),
        client.usage(meter.slug, { ...query, windowSize }, signal),
      ])
      const values = new Map(rows.map((row) => [Date.parse(row.windowStart), Number(row.value)]))
      const starts = windowStarts(span, windowSize, view.zone, values.keys())
      const open = openWindow(span, windowSize, view.zone, client.now())
      return { total: totals[0]?.value, course: starts.map((start) => values.get(start) ?? 0), open: open === null ? -1 : starts.indexOf(open) }
    },
    seconds * REFRESH_FACTOR,
  )
  const { label } = AGGREGATIONS[meter.aggregation]
  const total = newest?.key === key ? newest.total : data && (data.total ?? emptyTotal(meter))
  const unit = own(units, meter.slug)
  const card = useRef<HTMLButtonElement>(null)
  useEffect(() => {
    if (chosen) reveal(card.current, card.current?.closest('ul'))
  }, [chosen])
  return (
    <button ref={card} type="button" className="mp-card" aria-current={chosen ? 'true' : undefined} onClick={onChoose}>
      <span className="mp-card-name" title={meter.name}>{meter.name}</span>
      <span className="mp-card-total">
        {total === undefined ? <span>…</span> : <Total text={total ?? '–'} />}
        {unit && <small>{` ${unit}`}</small>}
      </span>
      <span className="mp-quiet">{label}</span>
      {data && <Course values={data.course} open={data.open} />}
    </button>
  )
}

/** A total that fits on a card. If it had to be shortened, the tooltip and screen readers give all its digits. */
function Total({ text }: { text: string }) {
  const { locale } = useContext(PortalContext)
  const fitting = formatFitting(text, locale)
  if (fitting === formatBrief(text, locale)) return <Digits text={fitting} />
  const exact = formatDecimal(text, locale)
  return (
    <span title={exact}>
      <Digits text={fitting} hidden />
      <span translate="no" className="mp-hidden">
        {exact}
      </span>
    </span>
  )
}

/** A small bar chart of the windows. The open window, if there is one, is pale; `open` is its index or -1. */
function Course({ values, open }: { values: number[]; open: number }) {
  const [least, most] = [Math.min(...values, 0), Math.max(...values, 0)]
  const scale = 24 / (most - least || 1)
  const width = 100 / values.length
  const bars = values.map((value, index) => {
    const height = Math.sign(value) * Math.max(Math.abs(value) * scale, value === 0 ? 0 : 1)
    return `M${(index * width).toFixed(2)} ${(most * scale).toFixed(2)}v${(-height).toFixed(2)}h${(width * 0.7).toFixed(2)}v${height.toFixed(2)}z`
  })
  return (
    <svg className="mp-course" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">
      <path d={bars.filter((_, index) => index !== open).join('')} />
      <path className="mp-course-open" d={bars[open] ?? ''} />
    </svg>
  )
}
