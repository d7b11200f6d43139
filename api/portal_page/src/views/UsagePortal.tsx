import { useOpenMeter } from '@openmeter/sdk/react'
import { useEffect, useEffectEvent, useState } from 'react'
import { PortalClient, type UsageError } from '../client'
import { PortalContext } from '../context'
import { usePolled } from '../polling'
import { defaultView, type Theme, type View } from '../view'
import { Meters } from './Meters'
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
  const { theme = 'auto', heading, onThemeChange } = props
  const dark = useDark(theme)
  const [live, setLive] = useState(true)
  const [lost, setLost] = useState<PortalClient>()
  const every = props.refreshSeconds ?? 5
  return (
    <div className="mp" data-theme={dark ? 'dark' : 'light'}>
      {heading !== undefined && (
        <header className="mp-head">
          <h1>{heading}</h1>
          <div className="mp-head-tools">
            {client && client !== lost && every > 0 && (
              <button type="button" className="mp-live" aria-pressed={live} onClick={() => setLive(!live)}>
                <i aria-hidden="true" /> Live
              </button>
            )}
            {onThemeChange && <ThemeSwitch theme={theme} onChange={onThemeChange} />}
          </div>
        </header>
      )}
      {client ? (
        <WithToken
          key={tokenKey(client)}
          {...props}
          client={client}
          look={`${theme} ${dark}`}
          seconds={live ? every : 0}
          onTokenFailure={(error) => {
            setLost(client)
            props.onTokenFailure?.(error)
          }}
        />
      ) : (
        <TokenNotice />
      )}
    </div>
  )
}

const keys = new WeakMap<PortalClient, number>()
let lastKey = 0

/** Another client is another customer, maybe: nothing of the one before stays. */
function tokenKey(client: PortalClient): number {
  if (!keys.has(client)) keys.set(client, ++lastKey)
  return keys.get(client) ?? 0
}

interface WithTokenProps extends UsagePortalProps {
  client: PortalClient
  look: string
  seconds: number
}

function WithToken({ client, look, seconds, ...props }: WithTokenProps) {
  const { locale, units = NO_UNITS, meters: wanted, parts = ALL, onTokenFailure } = props
  const [view, setView] = useState<View>(() => ({ ...defaultView(), ...props.view }))
  const [ready, setReady] = useState(false)
  const [failure, setFailure] = useState<UsageError>()
  const meters = usePolled('meters', (signal) => client.meters(signal), seconds && METERS_SECONDS)

  const asked = JSON.stringify(props.view ?? {})
  const [before, setBefore] = useState(asked)
  if (asked !== before) {
    setBefore(asked)
    setView({ ...defaultView(), ...props.view })
  }

  const tell = useEffectEvent((error: UsageError) => onTokenFailure?.(error))
  const lost = failure ?? (meters.error?.needsToken ? meters.error : undefined)
  useEffect(() => {
    if (lost) tell(lost)
  }, [lost])

  const settings = { locale, units, seconds, onTokenFailure: setFailure }
  const listed = meters.data && ordered(meters.data, wanted)
  const chosen = listed?.find((meter) => meter.slug === view.meter) ?? listed?.[0]
  const change = (next: View): void => {
    setView(next)
    props.onViewChange?.(next)
  }

  if (lost) return <TokenNotice error={lost} />
  if (!listed) return meters.error ? <Banner error={meters.error} retry={meters.reload} /> : <Loading />
  if (!chosen) return <Notice title="No meters">There is nothing metered for you yet.</Notice>
  const show = new Set(parts)
  return (
    <PortalContext value={settings}>
      {show.has('meters') && listed.length > 1 && (
        <Meters {...{ client, view, ready }} meters={listed} chosen={chosen.slug} onChoose={(meter) => change({ ...view, meter, groupBy: [], filters: {} })} />
      )}
      <MeterUsage key={chosen.slug} {...{ client, view, look }} meter={chosen} onViewChange={change} parts={show} onReady={() => setReady(true)} />
    </PortalContext>
  )
}

function ordered<T extends { slug: string }>(meters: T[], wanted?: readonly string[]): T[] {
  if (!wanted || wanted.length === 0) return meters
  return wanted.flatMap((slug) => meters.filter((meter) => meter.slug === slug))
}

function Loading() {
  return (
    <div className="mp-panel mp-waiting" role="status">
      <span className="mp-hidden">Loading</span>
      <i />
      <i />
    </div>
  )
}
