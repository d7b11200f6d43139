import { useEffect, useEffectEvent, useState } from 'react'
import type { PortalClient, UsageError } from '../client'

const RENEWAL_MS = 8000

/**
 * Keep the failure only another token mends, and tell of it once a client.
 *
 * Returns: `lost`; `renewing`: whether it expired so short ago that another token may still come, `patience` (ms) long.
 */
export function useLost(client: PortalClient | null, patience = RENEWAL_MS, onTokenFailure?: (error: UsageError) => void) {
  const [failure, setFailure] = useState<{ client: PortalClient | null; error: UsageError }>()
  const [overdue, setOverdue] = useState<UsageError>()
  const lost = failure?.client === client ? failure?.error : undefined
  const fail = (error: UsageError): void => setFailure((before) => (before?.client === client ? before : { client, error }))
  const tell = useEffectEvent((error: UsageError) => onTokenFailure?.(error))

  useEffect(() => {
    if (!lost) return undefined
    tell(lost)
    const timer = setTimeout(() => setOverdue(lost), patience)
    return () => clearTimeout(timer)
  }, [lost, patience])

  const renewing = lost?.kind === 'expired' && lost !== overdue && patience > 0 && onTokenFailure !== undefined
  return { lost, renewing, fail }
}
