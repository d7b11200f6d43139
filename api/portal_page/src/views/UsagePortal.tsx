import { useOpenMeter } from '@openmeter/sdk/react'
import { type ReactNode, useEffect, useEffectEvent, useRef, useState } from 'react'
import { PortalClient, type PortalMeter, type UsageError } from '../client'
import { PortalContext } from '../context'
import { useCurrentPeriod } from '../current'
import { knownLocale } from '../locale'
import { anchorOf } from '../periods'
import { usePolled } from '../polling'
import { boundSeconds, type Theme, type View, viewOf } from '../view'
import { Boundary } from './Boundary'
import { useLost } from './lost'
import { type CardTotal, Meters } from './Meters'
import { MeterUsage, type Part } from './MeterUsage'
import { Banner, Notice, TokenNotice } from './Notice'
import { ThemeSwitch, useDark } from './Theme'

const METERS_SECONDS = 300

export interface UsagePortalProps {
  /** What to show first; a change shows it anew. */
  view?: Partial<View>
  onViewChange?: (view: View) => void
  /** Only these meters, in this order; all the token allows where left out. */
  meters?: readonly string[]
  parts?: readonly Part[]
  theme?: Theme
  onThemeChange?: (theme: Theme) => void
  locale?: string
  units?: Readonly<Record<string, string>>
  /** Between two refreshes; 0: none. */
  refreshSeconds?: number
  heading?: string
  /** Opened by a link that holds the token, as the page is: what is said about the token speaks of it. */
  linked?: boolean
  /** The token is no good any more: give the provider a client with another. */
  onTokenFailure?: (error: UsageError) => void
}

const NO_UNITS = {}
const ALL: readonly Part[] = ['meters', 'controls', 'total', 'chart', 'table', 'csv']

/** Everything a portal token opens. Stands within an OpenMeterProvider whose value is a PortalClient, or null. */
export function UsagePortal(props: UsagePortalProps) {
  const client = useOpenMeter()
  if (client !== null && !(client instanceof PortalClient)) {
    throw new Error('UsagePortal needs a PortalClient as the value of its OpenMeterProvider')
  }
  const { theme = 'auto', locale } = props
  const dark = useDark(theme)
  const place = useRef<HTMLDivElement>(null)
  const held = useRef(false)
  return (
    <div
      ref={place}
      className="mp"
      dir="ltr"
      lang="en"
      data-theme={dark ? 'dark' : 'light'}
      tabIndex={-1}
      onFocus={() => (held.current = true)}
      onBlur={() => (held.current = false)}
    >
      <Boundary>
        <Portal
          {...props}
          client={client}
          theme={theme}
          locale={knownLocale(locale)}
          look={`${theme} ${dark}`}
          keepFocus={(element) => {
            if (held.current) element?.focus()
          }}
          onRetry={() => place.current?.focus()}
        />
      </Boundary>
    </div>
  )
}

interface PortalProps extends UsagePortalProps {
  client: PortalClient | null
  theme: Theme
  look: string
  /** Focus an element if the one before it, which is gone, had the focus. */
  keepFocus: (element: HTMLElement | null) => void
  onRetry: () => void
}

function Portal({ client, heading, theme, onThemeChange, linked = false, keepFocus, ...props }: PortalProps) {
  const [view, setView] = useView(props.view)
  const [live, setLive] = useState(true)
  const [failing, setFailing] = useState(false)
  const { lost, renewing, fail } = useLost(client, linked ? 0 : undefined, props.onTokenFailure)
  const every = boundSeconds(props.refreshSeconds ?? 5)
  const change = (next: View): void => {
    setView(next)
    props.onViewChange?.(next)
  }
  return (
    <>
      {heading !== undefined && (
        <header className="mp-head">
          <h1>{heading}</h1>
          <div className="mp-head-tools">
            {client && !lost && every > 0 && <Live live={live} failing={failing} onChange={setLive} />}
            {onThemeChange && <ThemeSwitch theme={theme} onChange={onThemeChange} />}
          </div>
        </header>
      )}
      {client && (!lost || renewing) ? (
        <Opened {...props} {...{ client, view, renewing }} seconds={live ? every : 0} onChange={change} onLost={fail} onFailing={setFailing} />
      ) : lost || linked ? (
        <TokenNotice error={lost} linked={linked} keepFocus={keepFocus} />
      ) : (
        <Loading />
      )}
    </>
  )
}

/** What is looked at: what was given, until the customer chooses; what is given anew, when it differs from that before. */
function useView(given: Partial<View> | undefined): [View, (view: View) => void] {
  const [view, setView] = useState<View>(() => viewOf(given))
  const asked = JSON.stringify(given ?? {})
  const [before, setBefore] = useState(asked)
  if (asked !== before) {
    setBefore(asked)
    setView(viewOf(given))
  }
  return [view, setView]
}

function Live({ live, failing, onChange }: { live: boolean; failing: boolean; onChange: (live: boolean) => void }) {
  return (
    <button type="button" className="mp-live" aria-pressed={live} data-failing={live && failing} onClick={() => onChange(!live)}>
      <i aria-hidden="true" />
      <span>{live && failing ? 'Trying again' : 'Live'}</span>
    </button>
  )
}

interface OpenedProps extends Omit<UsagePortalProps, 'view'> {
  client: PortalClient
  view: View
  look: string
  seconds: number
  renewing: boolean
  onChange: (view: View) => void
  onLost: (error: UsageError) => void
  onFailing: (failing: boolean) => void
  onRetry: () => void
}

function Opened({ client, view: wished, look, seconds, renewing, onChange, onLost, onFailing, ...props }: OpenedProps) {
  const { locale, units = NO_UNITS, meters: wanted, parts = ALL } = props
  const [ready, setReady] = useState(false)
  const [unknownZone, setUnknownZone] = useState<string>()
  const [newest, setNewest] = useState<{ client: PortalClient; total: CardTotal }>()
  const basics = { locale, units, seconds, onTokenFailure: onLost }
  const listed = useMeters(client, basics)
  const current = useCurrentPeriod(client, wished, parts.includes('controls'), basics)
  const anchorDay = useLast(anchorOf(wished.period))
  const failure = (listed.meters ? undefined : listed.error) ?? current.error
  const tell = useEffectEvent(onFailing)
  const isFailing = failure !== undefined
  useEffect(() => tell(isFailing), [isFailing])
  if (failure && !failure.needsToken) {
    const retry = (): void => {
      props.onRetry()
      if (listed.error) listed.reload()
      else current.reload()
    }
    return <Banner error={failure} retry={retry} />
  }
  if (!listed.meters) return <Loading />
  const meters = ordered(listed.meters, wanted)
  const view = wished.zone === unknownZone ? { ...wished, zone: 'UTC' } : wished
  const chosen = meters.find((meter) => meter.slug === view.meter) ?? meters[0]
  if (!chosen) return <Notice title="No meters">There is nothing metered for you yet.</Notice>
  const show = new Set(parts)
  const settings = {
    ...basics, anchorDay, currentPeriod: current.currentPeriod, isPeriodPending: current.isPending, onUnknownZone: setUnknownZone, unknownZone: view === wished ? undefined : unknownZone,
  }
  // The zone that was wished for stays, until another is chosen: an API that knows it may come.
  const change = (next: View): void => onChange(next.zone === view.zone ? { ...next, zone: wished.zone } : next)
  const settled = (failing: boolean): void => {
    setReady(true)
    onFailing(failing)
  }
  return (
    <PortalContext value={settings}>
      <div className={renewing ? 'mp-stale' : undefined} aria-busy={renewing}>
        {show.has('meters') && meters.length > 1 && (
          <Meters
            {...{ client, view, ready, meters }}
            chosen={chosen.slug}
            newest={newest?.client === client ? newest.total : undefined}
            onChoose={(meter) => change({ ...view, meter, groupBy: [], filters: {} })}
          />
        )}
        <MeterUsage
          key={chosen.slug}
          {...{ client, view, look }}
          meter={chosen}
          parts={show}
          onViewChange={change}
          onSettled={settled}
          onTotal={(total) => setNewest({ client, total })}
        />
      </div>
      <p className="mp-hidden" role="status">
        {renewing ? 'Your session is renewed' : ''}
      </p>
    </PortalContext>
  )
}

/**
 * Return the meters a token allows.
 *
 * With a new token the names stay until its own are there, so that nothing moves and the focus stays; no usage does.
 */
function useMeters(client: PortalClient, settings: { seconds: number; onTokenFailure: (error: UsageError) => void }) {
  const [meters, setMeters] = useState<PortalMeter[]>()
  const { data, error, reload } = usePolled(
    'meters',
    (signal) => client.meters(signal),
    settings.seconds && (meters ? METERS_SECONDS : settings.seconds),
    settings.onTokenFailure,
  )
  if (data && data !== meters) setMeters(data)
  return { meters: data ?? (error && !error.needsToken ? undefined : meters), error, reload }
}

/** Return the last value that there was. */
function useLast<T>(value: T | undefined): T | undefined {
  const [last, setLast] = useState(value)
  if (value !== undefined && value !== last) setLast(value)
  return value ?? last
}

function ordered<T extends { slug: string }>(meters: T[], wanted?: readonly string[]): T[] {
  if (!wanted || wanted.length === 0) return meters
  return wanted.flatMap((slug) => meters.filter((meter) => meter.slug === slug))
}

function Loading(): ReactNode {
  return (
    <div className="mp-panel mp-waiting" role="status">
      <span className="mp-hidden">Loading</span>
      <i />
      <i />
    </div>
  )
}
