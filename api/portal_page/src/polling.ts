/** Answers that stay fresh: asked again every few seconds, never while nobody looks. */
import { useOpenMeter } from '@openmeter/sdk/react'
import { useContext, useEffect, useEffectEvent, useState } from 'react'
import { PortalClient, UsageError } from './client'
import { PortalContext } from './context'
import { isSame } from './same'

const TIMEOUT_MS = 30_000
const SLOWEST = 12 // failures lengthen the pause to so many of it at most
const LONGEST_MS = 2 ** 31 - 1 // a timer takes no more

export interface Polled<T> {
  /** The last answer; of an earlier question while `stale`. */
  data?: T
  /** What the last attempt failed with; `data` may still be there. */
  error?: UsageError
  stale: boolean
  /** When `data` came, Unix milliseconds on the clock of the answers. */
  at?: number
  reload: () => void
}

interface Held<T> {
  key: string | null
  client: unknown
  data?: T
  error?: UsageError
  at?: number
}

const ignore = (): void => undefined

/** Return the data held if an answer says the same, or all that is made of it would be made and drawn anew. */
function sameOr<T>(data: T, { data: before }: Held<T>): T {
  return before !== undefined && isSame(before, data) ? before : data
}

/**
 * Ask what `key` names (null: nothing yet), and again every `seconds` (0: only when told).
 *
 * Hidden pages do not ask; one that is shown again, or online again, asks at once. A failure that only another token
 * mends ends the asking, and is told to `onTokenFailure`, else to the context. Another client is another customer, maybe: nothing of the one before is shown.
 */
export function usePolled<T>(
  key: string | null,
  load: (signal: AbortSignal) => Promise<T>,
  seconds: number,
  onTokenFailure?: (error: UsageError) => void,
): Polled<T> {
  const [held, setHeld] = useState<Held<T>>({ key: null, client: null })
  const client = useOpenMeter()
  const [told, setTold] = useState(0)
  const context = useContext(PortalContext)
  const ask = useEffectEvent(load)
  const tell = useEffectEvent(onTokenFailure ?? context.onTokenFailure ?? ignore)

  useEffect(() => {
    if (key === null) return undefined
    let timer: ReturnType<typeof setTimeout> | undefined
    let running: AbortController | undefined
    let failures = 0
    let ended = false

    const turn = async (): Promise<void> => {
      clearTimeout(timer)
      running?.abort()
      const mine = (running = new AbortController())
      const patience = setTimeout(() => mine.abort(new UsageError('unavailable', 'no answer in time')), TIMEOUT_MS)
      try {
        const data = await ask(mine.signal)
        if (mine !== running || ended) return
        failures = 0
        setHeld((before) => ({ key, client, data: sameOr(data, before), at: client instanceof PortalClient ? client.now() : Date.now() }))
      } catch (failure) {
        if (mine !== running || ended) return
        const error = failure instanceof UsageError ? failure : new UsageError('unavailable', String(failure))
        failures += 1
        ended = error.needsToken
        if (error.needsToken) tell(error)
        setHeld((before) => ({ ...(before.key === key && before.client === client && before), key, client, error }))
      } finally {
        clearTimeout(patience)
      }
      if (seconds > 0 && !document.hidden && !ended) {
        const pause = seconds * 1000 * Math.min(2 ** failures, SLOWEST)
        const wished = client instanceof PortalClient ? client.quietUntil - Date.now() : 0
        timer = setTimeout(() => void turn(), Math.min(Math.max(pause, wished), LONGEST_MS))
      }
    }
    const look = (): void => {
      clearTimeout(timer)
      if (seconds > 0 && !document.hidden && !ended) void turn()
    }

    void turn()
    document.addEventListener('visibilitychange', look)
    window.addEventListener('online', look)
    return () => {
      ended = true
      clearTimeout(timer)
      running?.abort()
      document.removeEventListener('visibilitychange', look)
      window.removeEventListener('online', look)
    }
  }, [key, client, seconds, told])

  const reload = (): void => setTold((count) => count + 1)
  if (held.client !== client) return { stale: true, reload }
  const { data, error, at } = held
  return { data, error, at, stale: held.key !== key, reload }
}
