/** The settings that all views of a portal share. */
import { createContext } from 'react'
import type { UsageError } from './client'
import type { Span } from './periods'

export interface PortalSettings {
  /** The locale of numbers and dates. Undefined: the browser's own. */
  locale?: string
  /** The units of meters, by slug: `{ tokens: 'tokens', storage: 'GB' }`. */
  units: Readonly<Record<string, string>>
  /** Seconds between two refreshes. 0: no refresh. */
  seconds: number
  /** The subject's current period, if one is known. */
  currentPeriod?: Span
  /** Whether the current period is among the choices. */
  isPeriodOffered?: boolean
  /** Whether the view shows the current period and it is not loaded yet. */
  isPeriodPending?: boolean
  /** The day on which the subject's months begin, once a chosen period has named one. */
  anchorDay?: number
  /** The requested time zone, if the API does not know it. */
  unknownZone?: string
  /** Called if the API does not know this time zone. */
  onUnknownZone?: (zone: string) => void
  /** Called when the token is no longer accepted. */
  onTokenFailure?: (error: UsageError) => void
}

export const PortalContext = createContext<PortalSettings>({ units: {}, seconds: 5 })
