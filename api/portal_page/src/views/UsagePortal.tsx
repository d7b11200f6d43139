import { useOpenMeter } from '@openmeter/sdk/react'
import { type ReactNode, useEffect, useEffectEvent, useRef, useState } from 'react'
import { PortalClient, type PortalMeter, type UsageError } from '../client'
import { PortalContext } from '../context'
import { useCurrentPeriod } from '../current'
import { knownLocale } from '../locale'
import { anchorOf } from '../periods'
import { usePolled } from '../polling'
import { boundSeconds, type Theme, type View, viewOf } from '../viewState'
import { Boundary } from './Boundary'
import { type CardTotal, Meters } from './Meters'
import { MeterUsage, type Part } from './MeterUsage'
import { Banner, Notice, TokenNotice } from './Notice'
import { ThemeSwitch, useDark } from './Theme'
import { useTokenFailure } from './tokenFailure'

const METERS_SECONDS = 300

export interface UsagePortalProps {
  /** The view to show first. When this value changes, the new view is shown. */
  view?: Partial<View>
  onViewChange?: (view: View) => void
  /** Only these meters, in this order. Undefined or empty: all that the token allows. */
  meters?: readonly string[]
  parts?: readonly Part[]
  theme?: Theme
  onThemeChange?: (theme: Theme) => void
  locale?: string
  units?: Readonly<Record<string, string>>
  /** Seconds between two refreshes. 0: no refresh. */
  refreshSeconds?: number
  heading?: string
  /**
   * Whether a link that contains the token opened this view, as on the page. Messages about the token then speak of the
   * link.
   */
  linked?: boolean
  /** Called when the token is no longer accepted. Give the provider a client with another token. */
  onTokenFailure?: (error: UsageError) => void
}

const NO_UNITS = {}
const ALL_PARTS: readonly Part[] = ['meters', 'controls', 'total', 'chart', 'table', 'csv']

/**
 * All usage that a portal token opens. It must be inside an OpenMeterProvider whose value is a PortalClient, or null.
 */
export function UsagePortal(props: UsagePortalProps) {
  const client = useOpenMeter()
  if (client !== null && !(client instanceof PortalClient)) {
    throw new Error('UsagePortal needs a PortalClient as the value of its OpenMeterProvider')
  }
  const { theme = 'auto', locale } = props
  const dark = useDark(theme)
  const root = useRef<HTMLDivElement>(null)
  const hasFocus = useRef(false)
  return (
    <div
      ref={root}
      className="mp"
      dir="ltr"
      lang="en"
      data-theme={dark ? 'dark' : 'light'}
      tabIndex={-1}
      onFocus={() => (hasFocus.current = true)}
      onBlur={() => (hasFocus.current = false)}
    >
      <Boundary>
        <Portal
          {...props}
          client={client}
          theme={theme}
          locale={knownLocale(locale)}
          look={`${theme} ${dark}`}
          keepFocus={(element) => {
            if (hasFocus.current) element?.focus()
          }}
          onRetry={() => root.current?.focus()}
        />
      </Boundary>
    </div>
  )
}

interface PortalProps extends UsagePortalProps {
  client: PortalClient | null
  theme: Theme
  look: string
  /** Focus an element if the removed element that it replaces had the focus. */
  keepFocus: (element: HTMLElement | null) => void
  onRetry: () => void
}

function Portal({ client, heading, theme, onThemeChange, linked = false, keepFocus, ...props }: PortalProps) {
  const [view, setView] = useView(props.view)
  const [live, setLive] = useState(true)
  const [failing, setFailing] = useState(false)
  const { tokenFailure, isRenewing, fail } = useTokenFailure(client, linked ? 0 : undefined, props.onTokenFailure)
  const refreshSeconds = boundSeconds(props.refreshSeconds ?? 5)
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
            {client && !tokenFailure && refreshSeconds > 0 && <Live live={live} failing={failing} onChange={setLive} />}
            {onThemeChange && <ThemeSwitch theme={theme} onChange={onThemeChange} />}
          </div>
        </header>
      )}
      {client && (!tokenFailure || isRenewing) ? (
        <Opened
          {...props}
          {...{ client, view, isRenewing }}
          seconds={live ? refreshSeconds : 0}
          onChange={change}
          onTokenFailure={fail}
          onFailing={setFailing}
        />
      ) : tokenFailure || linked ? (
        <TokenNotice error={tokenFailure} linked={linked} keepFocus={keepFocus} />
      ) : (
        <Loading />
      )}
    </>
  )
}

/**
 * Keep the current view: the given one until the customer changes it, and again the given one whenever that changes.
 */
function useView(given: Partial<View> | undefined): [View, (view: View) => void] {
  const [view, setView] = useState<View>(() => viewOf(given))
  const key = JSON.stringify(given ?? {})
  const [previousKey, setPreviousKey] = useState(key)
  if (key !== previousKey) {
    setPreviousKey(key)
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
  isRenewing: boolean
  onChange: (view: View) => void
  onTokenFailure: (error: UsageError) => void
  onFailing: (failing: boolean) => void
  onRetry: () => void
}

function Opened({ client, view: requested, look, seconds, isRenewing, onChange, onTokenFailure, onFailing, ...props }: OpenedProps) {
  const { locale, units = NO_UNITS, meters: slugs, parts = ALL_PARTS } = props
  const [ready, setReady] = useState(false)
  const [unknownZone, setUnknownZone] = useState<string>()
  const [newest, setNewest] = useState<{ client: PortalClient; total: CardTotal }>()
  const basics = { locale, units, seconds, onTokenFailure }
  const listed = useMeters(client, basics)
  const current = useCurrentPeriod(client, requested, parts.includes('controls'), basics)
  const anchorDay = useLast(anchorOf(requested.period))
  const failure = (listed.meters ? undefined : listed.error) ?? current.error
  const reportFailing = useEffectEvent(onFailing)
  const isFailing = failure !== undefined
  useEffect(() => reportFailing(isFailing), [isFailing])
  if (failure && !failure.needsToken) {
    const retry = (): void => {
      props.onRetry()
      if (listed.error) listed.reload()
      else current.reload()
    }
    return <Banner error={failure} retry={retry} />
  }
  if (!listed.meters || current.isOffered === undefined) return <Loading />
  const meters = ordered(listed.meters, slugs)
  const view = requested.zone === unknownZone ? { ...requested, zone: 'UTC' } : requested
  const chosen = meters.find((meter) => meter.slug === view.meter) ?? meters[0]
  if (!chosen) return <Notice title="No meters">There is nothing metered for you yet.</Notice>
  const show = new Set(parts)
  const settings = {
    ...basics,
    anchorDay,
    currentPeriod: current.currentPeriod,
    isPeriodOffered: current.isOffered,
    isPeriodPending: current.isPending,
    onUnknownZone: setUnknownZone,
    unknownZone: view === requested ? undefined : unknownZone,
  }
  // The requested zone is kept until another is chosen: after an update the API may know it.
  const change = (next: View): void => onChange(next.zone === view.zone ? { ...next, zone: requested.zone } : next)
  const onSettled = (failing: boolean): void => {
    setReady(true)
    onFailing(failing)
  }
  return (
    <PortalContext value={settings}>
      <div className={isRenewing ? 'mp-stale' : undefined} aria-busy={isRenewing}>
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
          onSettled={onSettled}
          onTotal={(total) => setNewest({ client, total })}
        />
      </div>
      <p className="mp-hidden" role="status">
        {isRenewing ? 'Your session is being renewed' : ''}
      </p>
    </PortalContext>
  )
}

/**
 * Load the meters that a token allows.
 *
 * With a new token the earlier meters stay until those of the new token are loaded, so that nothing moves and the focus
 * stays. Their usage does not stay.
 */
function useMeters(client: PortalClient, settings: { seconds: number; onTokenFailure: (error: UsageError) => void }) {
  const [meters, setMeters] = useState<PortalMeter[]>()
  const { data, error, reload } = usePolled(
    'meters',
    (signal) => client.meters(signal),
    settings.seconds && METERS_SECONDS,
    settings.onTokenFailure,
    settings.seconds,
  )
  if (data && data !== meters) setMeters(data)
  return { meters: data ?? (error && !error.needsToken ? undefined : meters), error, reload }
}

/** Return the value, or the last one that was defined. */
function useLast<T>(value: T | undefined): T | undefined {
  const [last, setLast] = useState(value)
  if (value !== undefined && value !== last) setLast(value)
  return value ?? last
}

function ordered<T extends { slug: string }>(meters: T[], slugs?: readonly string[]): T[] {
  if (!slugs || slugs.length === 0) return meters
  return slugs.flatMap((slug) => meters.filter((meter) => meter.slug === slug))
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
