import { useContext, useEffect, useRef } from 'react'
import type { PortalClient, PortalMeter } from '../client'
import { PortalContext } from '../context'
import { formatBrief, formatDecimal, formatFitting } from '../exact'
import { sizeFor, spanOf, windowStarts } from '../periods'
import { usePolled } from '../polling'
import { emptyTotal } from '../usage'
import { AGGREGATIONS, own, type View } from '../view'
import { reveal } from './reveal'

const PAUSE = 6 // cards are asked so many times less often than the meter looked at

interface MetersProps {
  client: PortalClient
  meters: PortalMeter[]
  view: View
  chosen: string
  /** Not before the meter looked at is there: it comes first. */
  ready: boolean
  onChoose: (slug: string) => void
}

/** The meters a token allows: each with its total and its course over the period, to choose from. */
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

interface CardProps extends Pick<MetersProps, 'client' | 'view' | 'ready'> {
  meter: PortalMeter
  chosen: boolean
  onChoose: () => void
}

function Card({ client, meter, view, ready, chosen, onChoose }: CardProps) {
  const { units, seconds } = useContext(PortalContext)
  const { data } = usePolled(
    ready ? JSON.stringify([meter.slug, view.period, view.zone]) : null,
    async (signal) => {
      const span = spanOf(view.period, view.zone, Date.now())
      const [windowSize, query] = [sizeFor(span), { from: new Date(span.from), to: new Date(span.to), windowTimeZone: view.zone }]
      const [totals, rows] = await Promise.all([
        client.usage(meter.slug, query, signal),
        client.usage(meter.slug, { ...query, windowSize }, signal),
      ])
      const values = new Map(rows.map((row) => [Date.parse(row.windowStart), Number(row.value)]))
      return { total: totals[0]?.value, course: windowStarts(span, windowSize, view.zone, values.keys()).map((start) => values.get(start) ?? 0) }
    },
    seconds * PAUSE,
  )
  const { label } = AGGREGATIONS[meter.aggregation]
  const unit = own(units, meter.slug)
  const card = useRef<HTMLButtonElement>(null)
  useEffect(() => {
    if (chosen) reveal(card.current, card.current?.closest('ul'))
  }, [chosen])
  return (
    <button ref={card} type="button" className="mp-card" aria-current={chosen ? 'true' : undefined} onClick={onChoose}>
      <span className="mp-card-name" title={meter.name}>{meter.name}</span>
      <span className="mp-card-total">
        {data ? <Total text={data.total ?? emptyTotal(meter) ?? '–'} /> : '…'}
        {unit && <small> {unit}</small>}
      </span>
      <span className="mp-quiet">{label}</span>
      {data && <Course values={data.course} />}
    </button>
  )
}

/** A total in the room of a card; where that is less than its digits take, they are said and shown on pointing at it. */
function Total({ text }: { text: string }) {
  const { locale } = useContext(PortalContext)
  const fitting = formatFitting(text, locale)
  if (fitting === formatBrief(text, locale)) return fitting
  const exact = formatDecimal(text, locale)
  return (
    <span title={exact}>
      <span aria-hidden="true">{fitting}</span>
      <span className="mp-hidden">{exact}</span>
    </span>
  )
}

function Course({ values }: { values: number[] }) {
  const [least, most] = [Math.min(...values, 0), Math.max(...values, 0)]
  const scale = 24 / (most - least || 1)
  const width = 100 / values.length
  const bars = values.map((value, at) => {
    const height = Math.sign(value) * Math.max(Math.abs(value) * scale, value === 0 ? 0 : 1)
    return `M${(at * width).toFixed(2)} ${(most * scale).toFixed(2)}v${(-height).toFixed(2)}h${(width * 0.7).toFixed(2)}v${height.toFixed(2)}z`
  })
  return (
    <svg className="mp-course" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">
      <path d={bars.join('')} />
    </svg>
  )
}
