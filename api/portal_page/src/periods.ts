/**
 * Periods, and the windows of a period, in any IANA time zone.
 *
 * Owns: what "last 30 days" means, which window sizes fit a period, and how windows are written for people. A period
 * consists of whole windows, so that the URL of its query stays the same until the next window begins and the API can
 * answer 304.
 * Limits: where clocks go back over midnight a day has two beginnings; the first one counts.
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

/** Return the periods to choose from. With an anchor day, months that begin on that day replace the calendar months. */
export function periodChoices(anchorDay: number | undefined, hasCurrent: boolean): { value: Period & string; label: string; short: string }[] {
  const presets = PRESETS.map((preset) => {
    if (anchorDay === undefined || !preset.value.endsWith('month')) return preset
    const value = `${preset.value as 'month' | 'last-month'}@${anchorDay}` as const
    const from = `from the ${ordinal(anchorDay)}`
    return { value, label: `${preset.label}, ${from}`, short: `${preset.short} ${from}` }
  })
  return hasCurrent ? [...presets, { value: 'current', label: 'Current period', short: 'Current period' }] : presets
}

function ordinal(day: number): string {
  const endings: Partial<Record<Intl.LDMLPluralRule, string>> = { one: 'st', two: 'nd', few: 'rd' }
  return `${day}${endings[new Intl.PluralRules('en', { type: 'ordinal' }).select(day)] ?? 'th'}`
}

/** The current month of those that begin on a given day (`month@15`), or the last one (`last-month@15`). */
export type AnchoredMonth = `${'month' | 'last-month'}@${number}`

/** A preset, an anchored month, the subject's own current period, or two dates (`2026-11-01`), both included. */
export type Period = Preset | AnchoredMonth | 'current' | { from: string; to: string }

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
const MAX_WINDOWS = 3000
const CLOCK = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } as const

/** Return the span of a period at `now`. If no `current` period is known, the current period is the calendar month. */
export function spanOf(period: Period, zone: string, now: number, current?: Span): Span {
  if (typeof period !== 'string') {
    const from = dayStart(period.from, zone, 0)
    return { from, to: Math.max(dayStart(period.to, zone, 1), from + HOUR) }
  }
  if (period === 'current') return current ?? spanOf('month', zone, now)
  const anchor = anchorOf(period)
  if (anchor !== undefined) return anchoredMonth(anchor, period.startsWith('last-') ? 1 : 0, zone, now)
  const { year, month, day } = localOf(now, zone)
  switch (period as Preset) {
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
      return {
        from: startOfDate(zone, year, month, day - (period === '7d' ? 6 : 29)),
        to: startOfDate(zone, year, month, day + 1),
      }
    case 'month':
      return { from: startOfDate(zone, year, month, 1), to: startOfDate(zone, year, month + 1, 1) }
    case 'last-month':
      return { from: startOfDate(zone, year, month - 1, 1), to: startOfDate(zone, year, month, 1) }
    case '12m':
      return { from: startOfDate(zone, year, month - 11, 1), to: startOfDate(zone, year, month + 1, 1) }
  }
}

/** Return the day on which the months of an anchored month begin, or undefined for any other period. */
export function anchorOf(period: Period): number | undefined {
  const day = typeof period === 'string' ? /^(?:last-)?month@(\d+)$/.exec(period)?.[1] : undefined
  return day === undefined ? undefined : Number(day)
}

/**
 * Return the anchored month that contains `now`, or the one `back` months earlier. In a calendar month that is too
 * short it begins on the last day.
 */
function anchoredMonth(anchor: number, back: number, zone: string, now: number): Span {
  const { year, month, day } = localOf(now, zone)
  const firstDay = (which: number): number => Math.min(anchor, new Date(Date.UTC(year, which, 0)).getUTCDate())
  const begun = (day >= firstDay(month) ? month : month - 1) - back
  return {
    from: startOfDate(zone, year, begun, firstDay(begun)),
    to: startOfDate(zone, year, begun + 1, firstDay(begun + 1)),
  }
}

/** Return the end of the day that contains an instant. */
export function dayEnd(instant: number, zone: string): number {
  const { year, month, day } = localOf(instant, zone)
  return startOfDate(zone, year, month, day + 1)
}

/** Return the window sizes that suit a span: no longer than the span, and not too many windows. */
export function sizesFor(span: Span): WindowSize[] {
  const length = span.to - span.from
  const fitting = SIZES.filter((size) => length / LENGTHS[size] <= MAX_WINDOWS && LENGTHS[size] <= length * 1.1)
  return fitting.length > 0 ? fitting : ['MONTH']
}

/** Return the window size that suits a span best. */
export function sizeFor(span: Span): WindowSize {
  const length = span.to - span.from
  if (length <= 2 * HOUR) return 'MINUTE'
  if (length <= 2 * DAY + 2 * HOUR) return 'HOUR'
  return length <= 100 * DAY ? 'DAY' : 'MONTH'
}

/** Return the starts of all windows of a span and those of `known`, sorted, in Unix milliseconds. */
export function windowStarts(span: Span, size: WindowSize, zone: string, known: Iterable<number> = []): number[] {
  const starts = new Set<number>(known)
  if (size === 'MINUTE' || size === 'HOUR') {
    const first = size === 'HOUR' ? hourStart(span.from, zone) : Math.floor(span.from / MINUTE) * MINUTE
    for (let start = first; start < span.to; start += LENGTHS[size]) starts.add(start)
  } else {
    const { year, month, day } = localOf(span.from, zone)
    for (let step = 0; ; step++) {
      const isDay = size === 'DAY'
      const start = startOfDate(zone, year, isDay ? month : month + step, isDay ? day + step : 1)
      if (start >= span.to) break
      starts.add(start)
    }
  }
  return [...starts].sort((one, other) => one - other)
}

/** Return the start of the window that contains `now`, or null if the span does not contain it. */
export function openWindow(span: Span, size: WindowSize, zone: string, now: number): number | null {
  if (now < span.from || now >= span.to) return null
  return Math.max(...windowStarts(span, size, zone).filter((start) => start <= now))
}

interface Windows {
  span: Span
  windowSize: WindowSize
  zone: string
  open: number | null
}

/** Return a note for each window that is counted in part: the open window, and windows that the span cuts off. */
export function partialWindows({ span, windowSize, zone, open }: Windows, locale?: string): Map<number, string> {
  const starts = windowStarts(span, windowSize, zone)
  const [first, last] = [starts[0], starts[starts.length - 1]]
  const [, end] = windowStarts({ from: last, to: last + 2 * LENGTHS[windowSize] + DAY }, windowSize, zone)
  const notes = new Map<number, string[]>()
  const note = (start: number, text: string): unknown => notes.set(start, [...(notes.get(start) ?? []), text])
  if (first < span.from) note(first, `from ${instantLabel(span.from, zone, locale)}`)
  if (open !== null) note(open, 'so far')
  if (end > span.to && open === null) note(last, `until ${instantLabel(span.to, zone, locale, true)}`)
  return new Map([...notes].map(([start, texts]) => [start, texts.join(', ')]))
}

/**
 * Write an instant: its date, and its time unless a day begins then. With `ends`, the end of a day is written as that
 * day.
 */
function instantLabel(instant: number, zone: string, locale?: string, ends = false): string {
  const isDay = isDayStart(instant, zone)
  const shape = { day: 'numeric', month: 'short', ...(isDay ? {} : CLOCK) } as const
  return formatter(zone, locale, shape).format(ends && isDay ? instant - 1 : instant)
}

function isDayStart(instant: number, zone: string): boolean {
  const { year, month, day } = localOf(instant, zone)
  return startOfDate(zone, year, month, day) === instant
}

/**
 * Write a window for people: its day, its hour or its month. An hour that clocks show twice is written with its UTC
 * offset.
 */
export function windowLabel(start: number, size: WindowSize, zone: string, locale?: string, brief = false): string {
  const date = { day: 'numeric', month: 'short' } as const
  const full: Intl.DateTimeFormatOptions = {
    MINUTE: { ...date, year: 'numeric', ...CLOCK },
    HOUR: { ...date, year: 'numeric', ...CLOCK },
    DAY: { weekday: 'short', ...date, year: 'numeric' },
    MONTH: { month: 'long', year: 'numeric' },
  }[size] as Intl.DateTimeFormatOptions
  const short = { MINUTE: CLOCK, HOUR: CLOCK, DAY: date, MONTH: { month: 'short', year: '2-digit' } }[
    size
  ] as Intl.DateTimeFormatOptions
  const twice = (size === 'MINUTE' || size === 'HOUR') && isRepeated(start, zone)
  const shape = brief ? short : full
  return formatter(zone, locale, twice ? { ...shape, timeZoneName: 'shortOffset' } : shape).format(start)
}

/** Write the day of an instant in a short form. */
export function dayLabel(instant: number, zone: string, locale?: string): string {
  return formatter(zone, locale, { day: 'numeric', month: 'short' }).format(instant)
}

/**
 * Write a span as its first and last day. One that is short, or that does not begin and end at midnight, is written
 * with times.
 */
export function spanLabel(span: Span, zone: string, locale?: string): string {
  const isExact = span.to - span.from <= DAY + HOUR || ![span.from, span.to].every((end) => isDayStart(end, zone))
  const date = { day: 'numeric', month: 'short', year: 'numeric' } as const
  const shape = isExact ? ({ ...date, ...CLOCK } as const) : date
  return formatter(zone, locale, shape).formatRange(span.from, isExact ? span.to : span.to - 1)
}

/**
 * Write the time of an answer. It has the day too, because a page may stay open, and the zone if that is not the
 * reader's own.
 */
export function timeLabel(instant: number, zone: string, locale?: string): string {
  const clock = { day: 'numeric', month: 'short', hour: 'numeric', minute: '2-digit', second: '2-digit' } as const
  return formatter(zone, locale, zone === ownZone() ? clock : { ...clock, timeZoneName: 'short' }).format(instant)
}

/** Return the date (`2026-11-01`) of an instant in a zone. */
export function dateOf(instant: number, zone: string): string {
  const { year, month, day } = localOf(instant, zone)
  return new Date(Date.UTC(year, month - 1, day)).toISOString().slice(0, 10)
}

/** Return all time zones that this browser knows, UTC first. */
export function zones(): string[] {
  return ['UTC', ...Intl.supportedValuesOf('timeZone').filter((zone) => zone !== 'UTC')]
}

/**
 * Return the name of a zone that both this browser and the API know, or undefined if there is none. An offset is not a
 * zone. Some browsers return a name that they do not accept themselves: then the given name is kept.
 */
export function knownZone(zone: string): string | undefined {
  const canonical = canonicalName(zone)
  if (canonical === undefined) return undefined
  return canonical !== '' && canonicalName(canonical) !== undefined ? canonical : zone
}

/**
 * Return this browser's name for a zone ('' if it gives none), or undefined if it cannot format in the zone or it is an
 * offset.
 */
function canonicalName(zone: string): string | undefined {
  try {
    return /^[+-]/.test(zone) ? undefined : (new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone ?? '')
  } catch {
    return undefined
  }
}

/** Return the time zone of this browser, or UTC if it reports none or one that it does not accept itself. */
export function ownZone(): string {
  return reportedZone() ?? 'UTC'
}

/** Return the time zone that this browser reports, or undefined if it is not usable ('', 'Etc/Unknown', an offset). */
export function reportedZone(): string | undefined {
  return knownZone(new Intl.DateTimeFormat().resolvedOptions().timeZone ?? '')
}

interface Local {
  year: number
  month: number
  day: number
  minute: number
  /** The local time in milliseconds, computed as if it were UTC. */
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

/**
 * Return whether clocks show the local time of this instant twice, because they are put back by half an hour, one hour
 * or two.
 */
function isRepeated(instant: number, zone: string): boolean {
  const steps = [HOUR / 2, HOUR, 2 * HOUR]
  if (offsetOf(instant - 2 * HOUR, zone) === offsetOf(instant + 2 * HOUR, zone)) return false
  const { clock } = localOf(instant, zone)
  return steps.some((step) => [instant - step, instant + step].some((other) => localOf(other, zone).clock === clock))
}

/**
 * Return the first instant of a local date. `month` and `day` may be out of range: day 0 is the last day of the month
 * before.
 */
function startOfDate(zone: string, year: number, month: number, day: number): number {
  const midnight = Date.UTC(year, month - 1, day)
  const candidates = [midnight - offsetOf(midnight - DAY, zone), midnight - offsetOf(midnight + DAY, zone)]
  const exact = candidates.filter((instant) => localOf(instant, zone).clock === midnight)
  // If clocks skip this midnight, the day begins at the instant when they go forward.
  return exact.length > 0 ? Math.min(...exact) : Math.max(...candidates)
}

function hourStart(instant: number, zone: string): number {
  return Math.floor(instant / MINUTE) * MINUTE - localOf(instant, zone).minute * MINUTE
}

function dayStart(date: string, zone: string, daysLater: number): number {
  const [year, month, day] = date.split('-').map(Number)
  return startOfDate(zone, year, month, day + daysLater)
}
