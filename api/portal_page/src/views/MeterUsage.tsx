import { type ReactNode, useContext, useEffect, useEffectEvent, useId, useMemo, useRef, useState } from 'react'
import type { PortalClient, PortalMeter } from '../client'
import { PortalContext } from '../context'
import { formatDecimal } from '../exact'
import { spanLabel, timeLabel } from '../periods'
import { chartOf, type MeterUsage as Usage, useMeterUsage } from '../usage'
import { AGGREGATIONS, own, type View } from '../viewState'
import { Chart } from './Chart'
import { Controls } from './Controls'
import { Digits } from './Digits'
import { Download } from './Download'
import { Legend, partsSentence } from './Legend'
import { cardKey, type CardTotal } from './Meters'
import { Banner, Notice } from './Notice'
import { Remarks } from './Remarks'
import { Table } from './Table'

export type Part = 'meters' | 'controls' | 'total' | 'chart' | 'table' | 'csv'

export interface MeterUsageProps {
  client: PortalClient
  meter: PortalMeter
  view: View
  onViewChange: (view: View) => void
  parts: ReadonlySet<Part>
  /** A text that changes when the colours change. */
  look: string
  /** Called when usage is loaded, or has failed to load (`failing`). */
  onSettled?: (failing: boolean) => void
  /** Called with a new total of the period, if no filter is set: the meter's card shows the same total. */
  onTotal?: (total: CardTotal) => void
}

/** One meter: the controls, the total, the chart and the table. */
export function MeterUsage({ client, meter, view, onViewChange, parts, look, onSettled, onTotal }: MeterUsageProps) {
  const { locale, units, currentPeriod } = useContext(PortalContext)
  const heading = useId()
  const usage = useMeterUsage(client, meter, view)
  const unit = own(units, meter.slug) ?? ''
  const title = useRef<HTMLHeadingElement>(null)
  const reportSettled = useEffectEvent((failing: boolean) => onSettled?.(failing))
  const failing = usage.error !== undefined
  const settled = usage.at !== undefined || failing
  useEffect(() => {
    if (!settled) return
    performance.mark('meterport:usage')
    reportSettled(failing)
  }, [settled, failing])
  const { data, error } = usage
  const isFiltered = Object.keys(view.filters).length > 0
  const total = data && !usage.stale && !isFiltered ? data.total : undefined
  const key = cardKey(meter, view, currentPeriod)
  const reportTotal = useEffectEvent((changed: CardTotal) => onTotal?.(changed))
  useEffect(() => {
    if (total !== undefined) reportTotal({ key, total })
  }, [key, total])
  const [openedAt] = useState(() => client.now())
  // Before the first answer the text is invisible, but has its place: the controls must not move when it appears.
  const since = timeLabel(usage.at ?? openedAt, view.zone, locale)
  const retry = (): void => {
    title.current?.focus()
    usage.reload()
  }
  return (
    <section className="mp-panel" aria-labelledby={heading} aria-busy={usage.stale}>
      <header className="mp-panel-head">
        <div>
          <h2 id={heading} ref={title} tabIndex={-1}>{meter.name}</h2>
          {meter.description && <p className="mp-quiet">{meter.description}</p>}
        </div>
        <div className="mp-panel-tools">
          <span className={usage.at === undefined ? 'mp-quiet mp-reserved' : 'mp-quiet'}>Updated <bdi>{since}</bdi></span>
          {parts.has('csv') && <Download {...{ client, meter, view }} />}
        </div>
      </header>
      {parts.has('controls') && <Controls {...{ client, meter, view }} onChange={onViewChange} />}
      <Remarks view={view} answeredAt={usage.at} />
      {error && !error.needsToken && <Banner error={error} since={data && since} retry={retry} />}
      {data ? (
        <div className={usage.stale ? 'mp-stale' : undefined}>
          <Shown {...{ usage: data, meter, unit, parts, look }} filtered={isFiltered} />
        </div>
      ) : (
        !error && <Waiting />
      )}
      <p className="mp-hidden" role="status" data-updated={usage.at}>
        {data && !usage.stale ? `${meter.name}, ${spanLabel(data.span, data.zone, locale)} loaded` : ''}
      </p>
    </section>
  )
}

interface ShownProps {
  usage: Usage
  meter: PortalMeter
  unit: string
  parts: ReadonlySet<Part>
  look: string
  filtered: boolean
}

function Shown({ usage, meter, unit, parts, look, filtered }: ShownProps) {
  const { locale } = useContext(PortalContext)
  const period = spanLabel(usage.span, usage.zone, locale)
  const content = useMemo(() => chartOf(usage, meter, unit, locale), [usage, meter, unit, locale])
  const { label } = AGGREGATIONS[meter.aggregation]
  const title = `${meter.name}, ${label.toLowerCase()} per ${usage.windowSize.toLowerCase()}, ${period}, ${usage.zone}`
  const hasTable = parts.has('table')
  const description = [
    `${content.shape === 'bars' ? 'Bar' : 'Line'} chart: ${title}.`, partsSentence(content), hasTable && 'The table has the numbers.',
  ]
  return (
    <>
      {parts.has('total') && (
        <p className="mp-total">
          <span className="mp-quiet">
            <span>{usage.open === null ? `${label}, ` : `${label} so far, `}</span>
            <bdi>{period}</bdi>
          </span>
          <strong data-exact={usage.total} title={usage.total ?? undefined}>
            <Digits text={usage.total === null ? '–' : formatDecimal(usage.total, locale)} />
            {unit && usage.total !== null && <small>{` ${unit}`}</small>}
          </strong>
        </p>
      )}
      {parts.has('chart') &&
        (usage.rows.length > 0 ? (
          <figure className="mp-figure">
            <Chart content={content} look={look} label={description.filter(Boolean).join(' ')} />
            <Legend usage={usage} content={content} unit={unit} hasTable={hasTable} />
          </figure>
        ) : (
          <Notice title="No usage in this period">{filtered ? 'Choose another period, or other filters.' : 'Choose another period.'}</Notice>
        ))}
      {hasTable && (usage.rows.length > 0 || !parts.has('chart')) && <Table {...{ usage, meter, unit }} caption={title} />}
    </>
  )
}

function Waiting(): ReactNode {
  return (
    <div className="mp-waiting" role="status">
      <span className="mp-hidden">Loading usage</span>
      <i />
      <i />
    </div>
  )
}
