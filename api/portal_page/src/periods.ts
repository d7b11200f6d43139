/**
 * Periods, and the windows of a period, on the clock of any IANA zone.
 *
 * Owns: what "last 30 days" means (whole windows, so that a period's address stays the same until the next begins, and
 * the API can answer 304), which window sizes fit a period, and how windows are written for people.
 * Limits: a day that begins twice, where clocks go back over midnight, begins the first time.
 */
import type { WindowSize } from './client'
import { GREGORIAN } from './locale'

export type Preset = '1h' | '24h' | '7d' | '30d' | 'month' | 'last-month' | '12m'

export const PRESETS: readonly { value: Preset; label: string; short: string }[] = [
  { value: '1h', label: 'Last hour', short: '1 h' },
  { value: '24h', label: 'Last 24 hours', short: '24 h' },
  { value: '7d', label: 'Last 7 days', short: '7 d' },
  { value: '30d', label: 'Last 30 days', short: '30 d' },
  { value: 'month', label: 'This month', short: 'This month' },
  { value: 'last-month', label: 'Last month', short: 'Last month' },
  { value: '12m', label: 'Last 12 months', short: '12 mo' },
]

/** A preset, or dates both included (`2026-11-01`). */
export type Period = Preset | { from: string; to: string }

/** Half-open, in Unix milliseconds. */
export interface Span {
  from: number
  to: number
}

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const SIZES: readonly WindowSize[] = ['MINUTE', 'HOUR', 'DAY', 'MONTH']
const LENGTHS: Readonly<Record<WindowSize, number>> = { MINUTE, HOUR, DAY, MONTH: 30 * DAY }
const MOST_WINDOWS = 3000

/** Return the span of a period, as seen at `now`. */
export function spanOf(period: Period, zone: string, now: number): Span {
  if (typeof period !== 'string') {
    const from = dayStart(period.from, zone, 0)
    return { from, to: Math.max(dayStart(period.to, zone, 1), from + HOUR) }
  }
  const { year, month, day } = localOf(now, zone)
  switch (period) {
    case '1h': {
      const to = Math.floor(now / MINUTE) * MINUTE + MINUTE
      return { from: to - HOUR, to }
    }
    case '24h': {
      const to = hourStart(now, zone) + HOUR
      return { from: to - 24 * HOUR, to }
    }
    case '7d':
    case '30d':
      return { from: at(zone, year, month, day - (period === '7d' ? 6 : 29)), to: at(zone, year, month, day + 1) }
    case 'month':
      return { from: at(zone, year, month, 1), to: at(zone, year, month + 1, 1) }
    case 'last-month':
      return { from: at(zone, year, month - 1, 1), to: at(zone, year, month, 1) }
    case '12m':
      return { from: at(zone, year, month - 11, 1), to: at(zone, year, month + 1, 1) }
  }
}

/** Return the window sizes that show something of a span without drowning in windows. */
export function sizesFor(span: Span): WindowSize[] {
  const length = span.to - span.from
  const fitting = SIZES.filter((size) => length / LENGTHS[size] <= MOST_WINDOWS && LENGTHS[size] <= length * 1.1)
  return fitting.length > 0 ? fitting : ['MONTH']
}

/** Return the window size a span is best read in. */
export function sizeFor(span: Span): WindowSize {
  const length = span.to - span.from
  if (length <= 2 * HOUR) return 'MINUTE'
  if (length <= 2 * DAY + 2 * HOUR) return 'HOUR'
  return length <= 100 * DAY ? 'DAY' : 'MONTH'
}

/** Return the start of every window of a span, in order, with those of `known` (Unix milliseconds) among them. */
export function windowStarts(span: Span, size: WindowSize, zone: string, known: Iterable<number> = []): number[] {
  const starts = new Set<number>(known)
  if (size === 'MINUTE' || size === 'HOUR') {
    const first = size === 'HOUR' ? hourStart(span.from, zone) : Math.floor(span.from / MINUTE) * MINUTE
    for (let start = first; start < span.to; start += LENGTHS[size]) starts.add(start)
  } else {
    const { year, month, day } = localOf(span.from, zone)
    for (let step = 0; ; step++) {
      const start = size === 'DAY' ? at(zone, year, month, day + step) : at(zone, year, month + step, 1)
      if (start >= span.to) break
      starts.add(start)
    }
  }
  return [...starts].sort((one, other) => one - other)
}

/** Write a window for people: its day, its hour, its month; an hour that clocks show twice with its offset from UTC. */
export function windowLabel(start: number, size: WindowSize, zone: string, locale?: string, brief = false): string {
  const clock = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const
  const date = { day: 'numeric', month: 'short' } as const
  const full: Intl.DateTimeFormatOptions = {
    MINUTE: { ...date, year: 'numeric', ...clock },
    HOUR: { ...date, year: 'numeric', ...clock },
    DAY: { weekday: 'short', ...date, year: 'numeric' },
    MONTH: { month: 'long', year: 'numeric' },
  }[size] as Intl.DateTimeFormatOptions
  const short = { MINUTE: clock, HOUR: clock, DAY: date, MONTH: { month: 'short', year: '2-digit' } }[
    size
  ] as Intl.DateTimeFormatOptions
  const twice = (size === 'MINUTE' || size === 'HOUR') && isRepeated(start, zone)
  const shape = brief ? short : full
  return formatter(zone, locale, twice ? { ...shape, timeZoneName: 'shortOffset' } : shape).format(start)
}

/** Write the day of an instant, short. */
export function dayLabel(instant: number, zone: string, locale?: string): string {
  return formatter(zone, locale, { day: 'numeric', month: 'short' }).format(instant)
}

/** Write a span as its first and last day, or with its hours where it is short. */
export function spanLabel(span: Span, zone: string, locale?: string): string {
  const short = span.to - span.from <= DAY + HOUR
  const date = { day: 'numeric', month: 'short', year: 'numeric' } as const
  const shape = short ? ({ ...date, hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const) : date
  return formatter(zone, locale, shape).formatRange(span.from, short ? span.to : span.to - 1)
}

/** Write the time of day of an instant; in another zone than the reader's with that zone. */
export function timeLabel(instant: number, zone: string, locale?: string): string {
  const clock = { hour: 'numeric', minute: '2-digit', second: '2-digit' } as const
  return formatter(zone, locale, zone === ownZone() ? clock : { ...clock, timeZoneName: 'short' }).format(instant)
}

/** Return the date (`2026-11-01`) of an instant in a zone. */
export function dateOf(instant: number, zone: string): string {
  const { year, month, day } = localOf(instant, zone)
  return new Date(Date.UTC(year, month - 1, day)).toISOString().slice(0, 10)
}

/** Return every zone this browser knows, UTC first. */
export function zones(): string[] {
  return ['UTC', ...Intl.supportedValuesOf('timeZone').filter((zone) => zone !== 'UTC')]
}

/** Return a zone by the name both this browser and the API have for it; undefined: none. Offsets are no zones. */
export function knownZone(zone: string): string | undefined {
  try {
    return /^[+-]/.test(zone) ? undefined : new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone
  } catch {
    return undefined
  }
}

/** Return the zone of this browser. */
export function ownZone(): string {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC'
}

interface Local {
  year: number
  month: number
  day: number
  minute: number
  /** Local time as if it were UTC, in milliseconds. */
  clock: number
}

const formatters = new Map<string, Intl.DateTimeFormat>()

function formatter(zone: string, locale: string | undefined, shape: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = JSON.stringify([zone, locale, shape])
  let found = formatters.get(key)
  if (!found) formatters.set(key, (found = new Intl.DateTimeFormat(locale, { ...GREGORIAN, ...shape, timeZone: zone })))
  return found
}

function localOf(instant: number, zone: string): Local {
  const shape = { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric' } as const
  const parts = formatter(zone, 'en-US', { ...shape, second: 'numeric', hourCycle: 'h23' }).formatToParts(instant)
  const of = (type: string): number => Number(parts.find((part) => part.type === type)?.value)
  const [year, month, day, hour, minute] = [of('year'), of('month'), of('day'), of('hour'), of('minute')]
  return { year, month, day, minute, clock: Date.UTC(year, month - 1, day, hour, minute, of('second')) }
}

function offsetOf(instant: number, zone: string): number {
  return localOf(instant, zone).clock - Math.floor(instant / 1000) * 1000
}

/** Whether clocks show this instant a second time: they were put back by half an hour, one or two. */
function isRepeated(instant: number, zone: string): boolean {
  const steps = [HOUR / 2, HOUR, 2 * HOUR]
  if (offsetOf(instant - 2 * HOUR, zone) === offsetOf(instant + 2 * HOUR, zone)) return false
  const { clock } = localOf(instant, zone)
  return steps.some((step) => [instant - step, instant + step].some((other) => localOf(other, zone).clock === clock))
}

/** Return the first instant of a local date; months and days may run over. */
function at(zone: string, year: number, month: number, day: number): number {
  const wanted = Date.UTC(year, month - 1, day)
  const candidates = [wanted - offsetOf(wanted - DAY, zone), wanted - offsetOf(wanted + DAY, zone)]
  const right = candidates.filter((instant) => localOf(instant, zone).clock === wanted)
  // No such midnight: clocks go forward over it, and the day begins where they do.
  return right.length > 0 ? Math.min(...right) : Math.max(...candidates)
}

function hourStart(instant: number, zone: string): number {
  return Math.floor(instant / MINUTE) * MINUTE - localOf(instant, zone).minute * MINUTE
}

function dayStart(date: string, zone: string, later: number): number {
  const [year, month, day] = date.split('-').map(Number)
  return at(zone, year, month, day + later)
}
