import { type ReactNode, useContext, useEffect, useEffectEvent, useId, useMemo, useState } from 'react'
import { type PortalClient, type PortalMeter, UsageError } from '../client'
import { PortalContext } from '../context'
import { formatBrief, formatDecimal } from '../exact'
import { dateOf, spanLabel, spanOf } from '../periods'
import { chartOf, type Group, type MeterUsage as Usage, queryOf, sizeOf, useMeterUsage } from '../usage'
import { AGGREGATIONS, type View } from '../view'
import { Chart } from './Chart'
import { Controls } from './Controls'
import { Banner, Notice } from './Notice'
import { Table } from './Table'

export type Part = 'meters' | 'controls' | 'total' | 'chart' | 'table' | 'csv'

export interface MeterUsageProps {
  client: PortalClient
  meter: PortalMeter
  view: View
  onViewChange: (view: View) => void
  parts: ReadonlySet<Part>
  /** Changes where colours do. */
  look: string
  /** The first usage is there. */
  onReady?: () => void
}

/** One meter: its total, chart and table, and what they are asked with. */
export function MeterUsage({ client, meter, view, onViewChange, parts, look, onReady }: MeterUsageProps) {
  const { locale, units } = useContext(PortalContext)
  const heading = useId()
  const usage = useMeterUsage(client, meter, view)
  const unit = units[meter.slug] ?? ''
  const ready = useEffectEvent(() => onReady?.())
  const settled = usage.at !== undefined || usage.error !== undefined
  useEffect(() => {
    if (!settled) return
    performance.mark('meterport:usage')
    ready()
  }, [settled])
  const { data, error } = usage
  const since = usage.at === undefined ? undefined : new Intl.DateTimeFormat(locale, { timeStyle: 'medium' }).format(usage.at)
  return (
    <section className="mp-panel" aria-labelledby={heading} aria-busy={usage.stale}>
      <header className="mp-panel-head">
        <div>
          <h2 id={heading}>{meter.name}</h2>
          {meter.description && <p className="mp-quiet">{meter.description}</p>}
        </div>
        <div className="mp-panel-tools">
          {since && <span className="mp-quiet">Updated {since}</span>}
          {parts.has('csv') && <Download {...{ client, meter, view }} />}
        </div>
      </header>
      {parts.has('controls') && <Controls {...{ client, meter, view }} onChange={onViewChange} />}
      {error && !error.needsToken && <Banner error={error} since={data && since} retry={usage.reload} />}
      {data ? (
        <div className={usage.stale ? 'mp-stale' : undefined}>
          <Shown {...{ usage: data, meter, unit, parts, look }} />
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
}

function Shown({ usage, meter, unit, parts, look }: ShownProps) {
  const { locale } = useContext(PortalContext)
  const period = spanLabel(usage.span, usage.zone, locale)
  const content = useMemo(() => chartOf(usage, meter, unit, locale), [usage, meter, unit, locale])
  const { label } = AGGREGATIONS[meter.aggregation]
  const title = `${meter.name}, ${label.toLowerCase()} per ${usage.windowSize.toLowerCase()}, ${period}, ${usage.zone}`
  return (
    <>
      {parts.has('total') && (
        <p className="mp-total">
          <span className="mp-quiet">
            {label}, {period}
          </span>
          <strong data-exact={usage.total} title={usage.total ?? undefined}>
            {usage.total === null ? '–' : (meter.aggregation === 'AVG' ? formatBrief : formatDecimal)(usage.total, locale)}
            {unit && usage.total !== null && <small> {unit}</small>}
          </strong>
        </p>
      )}
      {parts.has('chart') &&
        (usage.rows.length > 0 ? (
          <figure className="mp-figure">
            <Chart content={content} look={look} label={`${content.shape === 'bars' ? 'Bar' : 'Line'} chart: ${title}. The table has the numbers.`} />
            {usage.groups.length > 0 && <Legend groups={usage.groups} names={content.series.map((one) => one.name)} unit={unit} />}
          </figure>
        ) : (
          <Notice title="No usage in this period">Choose another period, or other filters.</Notice>
        ))}
      {parts.has('table') && (usage.rows.length > 0 || !parts.has('chart')) && <Table {...{ usage, meter, unit }} caption={title} />}
    </>
  )
}

function Legend({ groups, names, unit }: { groups: Group[]; names: string[]; unit: string }) {
  const { locale } = useContext(PortalContext)
  const others = groups.filter((group) => !names.includes(group.name))
  return (
    <figcaption>
      <ul className="mp-legend">
        {names.map((name, at) => {
          const group = groups.find((one) => one.name === name)
          return (
            <li key={name}>
              <i className={`mp-swatch mp-swatch-${(at % 8) + 1}`} />
              <span>{group ? name : `${name} (${others.length})`}</span>
              {group && (
                <b>
                  {formatBrief(group.value, locale)}
                  {unit && ` ${unit}`}
                </b>
              )}
            </li>
          )
        })}
        {others.length > 0 && !names.includes('Other') && <li className="mp-quiet">{others.length} more in the table</li>}
      </ul>
    </figcaption>
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

function Download({ client, meter, view }: { client: PortalClient; meter: PortalMeter; view: View }) {
  const [failed, setFailed] = useState<string>()
  const { onTokenFailure } = useContext(PortalContext)
  const download = async (): Promise<void> => {
    const span = spanOf(view.period, view.zone, Date.now())
    try {
      const blob = await client.csv(meter.slug, { ...queryOf(view, meter, span), windowSize: sizeOf(view, span) })
      const name = `${meter.slug}_${dateOf(span.from, view.zone)}_${dateOf(span.to - 1, view.zone)}.csv`
      save(blob, name)
      setFailed(undefined)
    } catch (error) {
      if (error instanceof UsageError && error.needsToken) onTokenFailure?.(error)
      else setFailed(error instanceof Error ? error.message : String(error))
    }
  }
  return (
    <div className="mp-download">
      <button type="button" className="mp-button" onClick={() => void download()}>
        Download CSV
      </button>
      {failed && <span role="alert">Not downloaded: {failed}</span>}
    </div>
  )
}

function save(blob: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}
