/** Polling: load an answer again every few seconds, but never while the page is hidden. */
import { useOpenMeter } from '@openmeter/sdk/react'
import { useContext, useEffect, useEffectEvent, useState } from 'react'
import { PortalClient, UsageError } from './client'
import { PortalContext } from './context'
import { isSame } from './same'

const TIMEOUT_MS = 30_000
const MAX_BACKOFF = 12 // after failures the pause grows, to at most this many times the usual pause
const MAX_TIMER_MS = 2 ** 31 - 1 // setTimeout accepts no longer delay

export interface Polled<T> {
  /** The last answer. While `stale`, it is the answer for an earlier key. */
  data?: T
  /** The error of the last attempt, if it failed. `data` may still hold an earlier answer. */
  error?: UsageError
  stale: boolean
  /** When `data` arrived: Unix milliseconds by the server's clock. */
  at?: number
  reload: () => void
}

interface Answer<T> {
  key: string | null
  client: unknown
  data?: T
  error?: UsageError
  at?: number
}

const ignore = (): void => undefined

/**
 * Return the earlier data if the new data equals it. Otherwise everything derived from it would be computed and drawn
 * again.
 */
function keepIfSame<T>(data: T, { data: previous }: Answer<T>): T {
  return previous !== undefined && isSame(previous, data) ? previous : data
}

/**
 * Load the answer for `key` (null: nothing to load yet), and again every `seconds` (0: only on `reload`). The pause
 * after a failure is twice `retrySeconds`, and longer with each further failure.
 *
 * A hidden page does not load. A page that becomes visible or online again loads at once. A failure that only another
 * token can repair ends the polling and is reported to `onTokenFailure`, or else to the context. Another client may
 * belong to another customer: after a change of client, no answer of the previous one is shown.
 */
export function usePolled<T>(
  key: string | null,
  load: (signal: AbortSignal) => Promise<T>,
  seconds: number,
  onTokenFailure?: (error: UsageError) => void,
  retrySeconds = seconds,
): Polled<T> {
  const [answer, setAnswer] = useState<Answer<T>>({ key: null, client: null })
  const client = useOpenMeter()
  const [reloadCount, setReloadCount] = useState(0)
  const context = useContext(PortalContext)
  const loadLatest = useEffectEvent(load)
  const reportTokenFailure = useEffectEvent(onTokenFailure ?? context.onTokenFailure ?? ignore)

  useEffect(() => {
    if (key === null) return undefined
    let timer: ReturnType<typeof setTimeout> | undefined
    let running: AbortController | undefined
    let failures = 0
    let ended = false

    const refresh = async (): Promise<void> => {
      clearTimeout(timer)
      running?.abort()
      const current = (running = new AbortController())
      const timeout = setTimeout(() => current.abort(new UsageError('unavailable', 'no answer in time')), TIMEOUT_MS)
      try {
        const data = await loadLatest(current.signal)
        if (current !== running || ended) return
        failures = 0
        setAnswer((previous) => ({ key, client, data: keepIfSame(data, previous), at: client instanceof PortalClient ? client.now() : Date.now() }))
      } catch (failure) {
        if (current !== running || ended) return
        const error = failure instanceof UsageError ? failure : new UsageError('unavailable', String(failure))
        failures += 1
        ended = error.needsToken
        if (error.needsToken) reportTokenFailure(error)
        setAnswer((previous) => ({ ...(previous.key === key && previous.client === client && previous), key, client, error }))
      } finally {
        clearTimeout(timeout)
      }
      if (seconds > 0 && !document.hidden && !ended) {
        const pause = 1000 * (failures ? retrySeconds * Math.min(2 ** failures, MAX_BACKOFF) : seconds)
        const retryAfter = client instanceof PortalClient ? client.quietUntil - Date.now() : 0
        timer = setTimeout(() => void refresh(), Math.min(Math.max(pause, retryAfter), MAX_TIMER_MS))
      }
    }
    const onVisible = (): void => {
      clearTimeout(timer)
      if (seconds > 0 && !document.hidden && !ended) void refresh()
    }

    void refresh()
    document.addEventListener('visibilitychange', onVisible)
    window.addEventListener('online', onVisible)
    return () => {
      ended = true
      clearTimeout(timer)
      running?.abort()
      document.removeEventListener('visibilitychange', onVisible)
      window.removeEventListener('online', onVisible)
    }
  }, [key, client, seconds, retrySeconds, reloadCount])

  const reload = (): void => setReloadCount((count) => count + 1)
  if (answer.client !== client) return { stale: true, reload }
  const { data, error, at } = answer
  return { data, error, at, stale: answer.key !== key, reload }
}
