/** The subject's current period: what the operator gave, and what it means on the clock of the answers. */
import { useState } from 'react'
import type { PortalClient, PortalSubject, UsageError } from './client'
import { dayEnd, type Span } from './periods'
import { usePolled } from './polling'
import type { View } from './view'

const SECONDS = 300 // between two looks at a period that changes once a month

/**
 * Return the span of a subject's current period; undefined: none is known at `now`.
 *
 * One without an end goes on until the end of the day. One that is over stays what is known, until the next is given.
 */
export function currentPeriodOf({ currentPeriodStart, currentPeriodEnd }: PortalSubject, zone: string, now: number): Span | undefined {
  const from = Date.parse(currentPeriodStart ?? '')
  const to = currentPeriodEnd === undefined ? dayEnd(now, zone) : Date.parse(currentPeriodEnd)
  return from <= now && from < to ? { from, to } : undefined
}

interface Settings {
  seconds: number
  onTokenFailure: (error: UsageError) => void
}

/** Keep the subject's current period fresh. A view of another period does without: then nothing is pending and no error. */
export function useCurrentPeriod(client: PortalClient, { period, zone }: View, isAsked: boolean, settings: Settings) {
  const isNeeded = period === 'current'
  const [hasAnswered, setHasAnswered] = useState(false)
  const { data, error, reload } = usePolled(
    isAsked || isNeeded ? 'subject' : null,
    (signal) => client.subject(signal),
    settings.seconds && (hasAnswered ? SECONDS : settings.seconds),
    settings.onTokenFailure,
  )
  if (data && !hasAnswered) setHasAnswered(true)
  return {
    currentPeriod: data && currentPeriodOf(data, zone, client.now()),
    isPending: isNeeded && !data,
    error: isNeeded && !data ? error : undefined,
    reload,
  }
}
