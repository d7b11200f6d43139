/** The subject's current period: the one the operator set, evaluated at the server's time. */
import { useState } from 'react'
import type { PortalClient, PortalSubject, UsageError } from './client'
import { dayEnd, type Span } from './periods'
import { usePolled } from './polling'
import type { View } from './viewState'

const SECONDS = 300 // between two requests; the period changes once a month

/**
 * Return the span of a subject's current period, or undefined if none is known at `now`.
 *
 * A period without an end lasts until the end of the day. A period that is over stays the known one until the operator
 * sets the next.
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

/**
 * Keep the subject's current period up to date. A view of another period does not need it: then nothing is pending and
 * there is no error.
 *
 * `isOffered`: whether the current period is among the choices. It is undefined before the first answer or failure, and
 * with a new token it stays until that token's answer: a choice that comes or goes moves the others.
 */
export function useCurrentPeriod(client: PortalClient, { period, zone }: View, isRequested: boolean, settings: Settings) {
  const isNeeded = period === 'current'
  const [isOffered, setIsOffered] = useState(isRequested ? undefined : false)
  const { data, error, reload } = usePolled(
    isRequested || isNeeded ? 'subject' : null,
    (signal) => client.subject(signal),
    settings.seconds && SECONDS,
    settings.onTokenFailure,
    settings.seconds,
  )
  const currentPeriod = data && currentPeriodOf(data, zone, client.now())
  const isKnown = currentPeriod !== undefined
  if ((data || error) && isKnown !== isOffered) setIsOffered(isKnown)
  return {
    currentPeriod,
    isOffered,
    isPending: isNeeded && !data,
    error: isNeeded && !data ? error : undefined,
    reload,
  }
}
