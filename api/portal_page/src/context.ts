/** What every view of a portal shares. */
import { createContext } from 'react'
import type { UsageError } from './client'

export interface PortalSettings {
  /** Of numbers and dates; the browser's own where left out. */
  locale?: string
  /** Units by meter slug: `{ tokens: 'tokens', storage: 'GB' }`. */
  units: Readonly<Record<string, string>>
  /** Between two refreshes; 0: none. */
  seconds: number
  /** The token is no good any more. */
  onTokenFailure?: (error: UsageError) => void
}

export const PortalContext = createContext<PortalSettings>({ units: {}, seconds: 5 })
