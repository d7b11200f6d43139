/** What every view of a portal shares. */
import { createContext } from 'react'
import type { UsageError } from './client'
import type { Span } from './periods'

export interface PortalSettings {
  /** Of numbers and dates; the browser's own where left out. */
  locale?: string
  /** Units by meter slug: `{ tokens: 'tokens', storage: 'GB' }`. */
  units: Readonly<Record<string, string>>
  /** Between two refreshes; 0: none. */
  seconds: number
  /** The subject's current period, if one is known. */
  currentPeriod?: Span
  /** The current period is looked at, and is not known yet. */
  isPeriodPending?: boolean
  /** The day on which the subject's months begin, once a period named one. */
  anchorDay?: number
  /** The time zone that was asked for, where the API does not know it. */
  unknownZone?: string
  /** The API does not know this time zone. */
  onUnknownZone?: (zone: string) => void
  /** The token is no good any more. */
  onTokenFailure?: (error: UsageError) => void
}

export const PortalContext = createContext<PortalSettings>({ units: {}, seconds: 5 })
