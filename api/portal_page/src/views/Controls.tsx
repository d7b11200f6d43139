import { useContext, useEffect, useId, useMemo, useRef, useState } from 'react'
import type { PortalClient, PortalMeter, WindowSize } from '../client'
import { PortalContext } from '../context'
import { dateOf, type Period, periodChoices, sizeFor, sizesFor, spanOf, zones } from '../periods'
import { isDate, type View } from '../viewState'
import { useDraft } from './draft'
import { Filter } from './Filter'
import { reveal } from './reveal'

const SIZES: Readonly<Record<WindowSize, string>> = { MINUTE: 'Minute', HOUR: 'Hour', DAY: 'Day', MONTH: 'Month' }

interface ControlsProps {
  client: PortalClient
  meter: PortalMeter
  view: View
  onChange: (view: View) => void
}

/** The fields for a meter's period, window size, time zone, grouping and filters. */
export function Controls({ client, meter, view, onChange }: ControlsProps) {
  const keys = Object.keys(meter.groupBy ?? {})
  const change = (changes: Partial<View>): void => onChange({ ...view, ...changes })
  return (
    <div className="mp-controls">
      <Periods client={client} view={view} change={change} />
      <div className="mp-fields">
        <Windows client={client} view={view} change={change} />
        <Zones view={view} change={change} />
        {keys.length > 0 && <Groups keys={keys} view={view} change={change} />}
        {keys.map((key) => (
          <Filter key={`${meter.slug} ${key}`} {...{ client, meter, view, change }} name={key} />
        ))}
      </div>
    </div>
  )
}

interface ControlProps {
  view: View
  change: (changes: Partial<View>) => void
}

function Periods({ client, view, change }: ControlProps & { client: PortalClient }) {
  const name = useId()
  const { currentPeriod, isPeriodOffered = false, anchorDay } = useContext(PortalContext)
  const custom = typeof view.period !== 'string'
  const choose = (period: Period): void => change({ period, windowSize: undefined })
  const startCustom = (): void => {
    const span = spanOf(view.period, view.zone, client.now(), currentPeriod)
    choose({ from: dateOf(span.from, view.zone), to: dateOf(Math.min(span.to - 1, client.now()), view.zone) })
  }
  const row = useRef<HTMLFieldSetElement>(null)
  useEffect(() => {
    reveal(row.current?.querySelector<HTMLElement>(':checked + span') ?? null, row.current)
  }, [view.period])
  return (
    <div className="mp-periods">
      <fieldset ref={row} className="mp-segments">
        <legend className="mp-hidden">Period</legend>
        {periodChoices(anchorDay, isPeriodOffered || view.period === 'current').map(({ value, label, short }) => (
          <label key={value} title={label}>
            <input type="radio" name={name} aria-label={label} checked={view.period === value} onChange={() => choose(value)} />
            <span>{short}</span>
          </label>
        ))}
        <label>
          <input type="radio" name={name} aria-label="Custom period" checked={custom} onChange={startCustom} />
          <span>Custom</span>
        </label>
      </fieldset>
      {typeof view.period !== 'string' && <Dates period={view.period} choose={choose} />}
    </div>
  )
}

function Dates({ period, choose }: { period: { from: string; to: string }; choose: (period: Period) => void }) {
  const [draft, setDraft] = useDraft(period)
  const change = (changes: Partial<typeof draft>): void => {
    const next = { ...draft, ...changes }
    setDraft(next)
    if (isDate(next.from) && isDate(next.to) && next.from <= next.to) choose(next)
  }
  const isReversed = draft.from > draft.to
  return (
    <div className="mp-dates">
      <label className="mp-field">
        <span>From</span>
        <input type="date" value={draft.from} min="1970-01-01" max="2099-12-31" onChange={(event) => change({ from: event.target.value })} />
      </label>
      <label className="mp-field">
        <span>To, included</span>
        <input type="date" value={draft.to} min="1970-01-01" max="2099-12-31" aria-invalid={isReversed} onChange={(event) => change({ to: event.target.value })} />
      </label>
      {isReversed && <p role="alert">The period ends before it begins.</p>}
    </div>
  )
}

function Windows({ client, view, change }: ControlProps & { client: PortalClient }) {
  const { currentPeriod } = useContext(PortalContext)
  // `now` may become old: the sizes that fit depend on the length of the period, and hardly on the time.
  const [now] = useState(() => client.now())
  const span = spanOf(view.period, view.zone, now, currentPeriod)
  const fitting = sizesFor(span)
  const chosen = view.windowSize && fitting.includes(view.windowSize) ? view.windowSize : sizeFor(span)
  return (
    <label className="mp-field">
      <span>Per</span>
      <select value={chosen} onChange={(event) => change({ windowSize: event.target.value as WindowSize })}>
        {fitting.map((size) => (
          <option key={size} value={size}>
            {SIZES[size]}
          </option>
        ))}
      </select>
    </label>
  )
}

function Zones({ view, change }: ControlProps) {
  const all = useMemo(() => [...new Set([...zones(), view.zone])], [view.zone])
  return (
    <label className="mp-field mp-zone">
      <span>Time zone</span>
      <select value={view.zone} onChange={(event) => change({ zone: event.target.value })}>
        {all.map((zone) => (
          <option key={zone} value={zone}>
            {zone.replaceAll('_', ' ')}
          </option>
        ))}
      </select>
    </label>
  )
}

function Groups({ keys, view, change }: ControlProps & { keys: string[] }) {
  const toggle = (key: string, on: boolean): void =>
    change({ groupBy: keys.filter((one) => (one === key ? on : view.groupBy.includes(one))) })
  return (
    <fieldset className="mp-field mp-groups">
      <legend>Group by</legend>
      <div>
        {keys.map((key) => (
          <label key={key} className="mp-chip">
            <input type="checkbox" checked={view.groupBy.includes(key)} onChange={(event) => toggle(key, event.target.checked)} />
            <span>{key}</span>
          </label>
        ))}
      </div>
    </fieldset>
  )
}
