/** Answers that stay fresh: asked again every few seconds, never while nobody looks. */
import { useContext, useEffect, useEffectEvent, useState } from 'react'
import { UsageError } from './client'
import { PortalContext } from './context'

const TIMEOUT_MS = 30_000
const SLOWEST = 12 // failures lengthen the pause to so many of it at most

export interface Polled<T> {
  /** The last answer; of an earlier question while `stale`. */
  data?: T
  /** What the last attempt failed with; `data` may still be there. */
  error?: UsageError
  stale: boolean
  /** When `data` came, Unix milliseconds. */
  at?: number
  reload: () => void
}

interface Held<T> {
  key: string | null
  data?: T
  error?: UsageError
  at?: number
}

/**
 * Ask what `key` names (null: nothing yet), and again every `seconds` (0: only when told).
 *
 * Hidden pages do not ask; one that is shown again, or online again, asks at once. A failure that only another token
 * mends ends the asking.
 */
export function usePolled<T>(
  key: string | null,
  load: (signal: AbortSignal) => Promise<T>,
  seconds: number,
): Polled<T> {
  const [held, setHeld] = useState<Held<T>>({ key: null })
  const [told, setTold] = useState(0)
  const { onTokenFailure } = useContext(PortalContext)
  const ask = useEffectEvent(load)
  const tell = useEffectEvent((error: UsageError) => onTokenFailure?.(error))

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
        setHeld({ key, data, at: Date.now() })
      } catch (failure) {
        if (mine !== running || ended) return
        const error = failure instanceof UsageError ? failure : new UsageError('unavailable', String(failure))
        failures += 1
        ended = error.needsToken
        if (error.needsToken) tell(error)
        setHeld((before) => ({ ...before, key, data: before.key === key ? before.data : undefined, error }))
      } finally {
        clearTimeout(patience)
      }
      if (seconds > 0 && !document.hidden && !ended) {
        timer = setTimeout(() => void turn(), seconds * 1000 * Math.min(2 ** failures, SLOWEST))
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
  }, [key, seconds, told])

  const { data, error, at } = held
  return { data, error, at, stale: held.key !== key, reload: () => setTold((count) => count + 1) }
}
