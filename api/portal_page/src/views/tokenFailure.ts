import { useEffect, useEffectEvent, useState } from 'react'
import type { PortalClient, UsageError } from '../client'

const RENEWAL_MS = 8000

/**
 * Keep the failure that only another token can repair, and report it once per client.
 *
 * Returns: `tokenFailure`, the failure of this client's token, if there is one; `isRenewing`, whether the token expired
 * less than `renewalMs` ago, so that another one may still arrive; and `fail`, which records a failure.
 */
export function useTokenFailure(client: PortalClient | null, renewalMs = RENEWAL_MS, onTokenFailure?: (error: UsageError) => void) {
  const [failure, setFailure] = useState<{ client: PortalClient | null; error: UsageError }>()
  const [overdue, setOverdue] = useState<UsageError>()
  const tokenFailure = failure?.client === client ? failure?.error : undefined
  const fail = (error: UsageError): void => setFailure((previous) => (previous?.client === client ? previous : { client, error }))
  const report = useEffectEvent((error: UsageError) => onTokenFailure?.(error))

  useEffect(() => {
    if (!tokenFailure) return undefined
    report(tokenFailure)
    const timer = setTimeout(() => setOverdue(tokenFailure), renewalMs)
    return () => clearTimeout(timer)
  }, [tokenFailure, renewalMs])

  const isRenewing = tokenFailure?.kind === 'expired' && tokenFailure !== overdue && renewalMs > 0 && onTokenFailure !== undefined
  return { tokenFailure, isRenewing, fail }
}
