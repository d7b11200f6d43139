import { type ReactNode, useContext, useEffect, useEffectEvent, useId, useMemo, useRef, useState } from 'react'
import type { Series } from '../chart'
import { type PortalClient, type PortalMeter, UsageError } from '../client'
import { PortalContext } from '../context'
import { addDecimals, formatDecimal, formatFitting, LINE } from '../exact'
import { dateOf, spanLabel, spanOf, timeLabel } from '../periods'
import { csvForPeople } from '../spreadsheet'
import { chartOf, type Group, idOf, type MeterUsage as Usage, queryOf, sizeOf, useMeterUsage } from '../usage'
import { AGGREGATIONS, own, type View } from '../view'
import { Chart } from './Chart'
import { Controls } from './Controls'
import { Banner, Notice, reason } from './Notice'
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
  /** Usage is there, or is not: then `failing`. */
  onSettled?: (failing: boolean) => void
}

/** One meter: its total, chart and table, and what they are asked with. */
export function MeterUsage({ client, meter, view, onViewChange, parts, look, onSettled }: MeterUsageProps) {
  const { locale, units } = useContext(PortalContext)
  const heading = useId()
  const usage = useMeterUsage(client, meter, view)
  const unit = own(units, meter.slug) ?? ''
  const title = useRef<HTMLHeadingElement>(null)
  const tell = useEffectEvent((failing: boolean) => onSettled?.(failing))
  const failing = usage.error !== undefined
  const settled = usage.at !== undefined || failing
  useEffect(() => {
    if (!settled) return
    performance.mark('meterport:usage')
    tell(failing)
  }, [settled, failing])
  const { data, error } = usage
  const since = usage.at === undefined ? undefined : timeLabel(usage.at, view.zone, locale)
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
          {since && <span className="mp-quiet">Updated <bdi>{since}</bdi></span>}
          {parts.has('csv') && <Download {...{ client, meter, view }} />}
        </div>
      </header>
      {parts.has('controls') && <Controls {...{ client, meter, view }} onChange={onViewChange} />}
      {error && !error.needsToken && <Banner error={error} since={data && since} retry={retry} />}
      {data ? (
        <div className={usage.stale ? 'mp-stale' : undefined}>
          <Shown {...{ usage: data, meter, unit, parts, look }} filtered={Object.keys(view.filters).length > 0} />
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
  return (
    <>
      {parts.has('total') && (
        <p className="mp-total">
          <span className="mp-quiet">
            {label}, <bdi>{period}</bdi>
          </span>
          <strong data-exact={usage.total} title={usage.total ?? undefined}>
            {usage.total === null ? '–' : formatDecimal(usage.total, locale)}
            {unit && usage.total !== null && <small> {unit}</small>}
          </strong>
        </p>
      )}
      {parts.has('chart') &&
        (usage.rows.length > 0 ? (
          <figure className="mp-figure">
            <Chart content={content} look={look} label={`${content.shape === 'bars' ? 'Bar' : 'Line'} chart: ${title}. The table has the numbers.`} />
            {usage.groups.length > 0 && <Legend groups={usage.groups} series={content.series} unit={unit} />}
          </figure>
        ) : (
          <Notice title="No usage in this period">{filtered ? 'Choose another period, or other filters.' : 'Choose another period.'}</Notice>
        ))}
      {parts.has('table') && (usage.rows.length > 0 || !parts.has('chart')) && <Table {...{ usage, meter, unit }} caption={title} />}
    </>
  )
}

function Legend({ groups, series, unit }: { groups: Group[]; series: Series[]; unit: string }) {
  const { locale } = useContext(PortalContext)
  const values = new Map(groups.map((group) => [idOf(group.keys), group.value]))
  const shown = new Set(series.map(({ id }) => id))
  const others = groups.filter(({ keys }) => !shown.has(idOf(keys)))
  const rest = others.reduce((sum, { value }) => addDecimals(sum, value), '0')
  return (
    <figcaption>
      <ul className="mp-legend">
        {series.map(({ id, name }, at) => {
          const value = values.get(id) ?? rest
          return (
            <li key={id}>
              <i className={`mp-swatch mp-swatch-${(at % 8) + 1}`} />
              <bdi>{values.has(id) ? name : `${name} (${others.length})`}</bdi>
              <b>
                {formatFitting(value, locale, LINE)}
                {unit && ` ${unit}`}
              </b>
            </li>
          )
        })}
        {others.length > 0 && series.every(({ id }) => values.has(id)) && <li className="mp-quiet">{others.length} more in the table</li>}
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
  const [busy, setBusy] = useState(false)
  const { onTokenFailure } = useContext(PortalContext)
  const download = async (): Promise<void> => {
    if (busy) return
    setBusy(true)
    setFailed(undefined)
    const span = spanOf(view.period, view.zone, Date.now())
    try {
      const answer = await client.csv(meter.slug, { ...queryOf(view, meter, span), windowSize: sizeOf(view, span) })
      const file = new Blob([csvForPeople(await answer.text())], { type: 'text/csv;charset=utf-8' })
      const name = `${meter.slug}_${dateOf(span.from, view.zone)}_${dateOf(span.to - 1, view.zone)}.csv`
      save(file, name)
    } catch (error) {
      if (!(error instanceof UsageError)) throw error
      if (error.needsToken) onTokenFailure?.(error)
      else setFailed(reason(error))
    } finally {
      setBusy(false)
    }
  }
  return (
    <div className="mp-download">
      <button type="button" className="mp-button" aria-disabled={busy} onClick={() => void download()}>
        {busy ? 'Downloading…' : 'Download CSV'}
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
