/**
 * The state of the view (meter, period, window size, time zone, grouping, filters), and how an address holds it as
 * text.
 */
import type { PortalMeter, WindowSize } from './client'
import { type AnchoredMonth, knownZone, ownZone, PRESETS, type Period, type Preset } from './periods'

export interface View {
  meter?: string
  period: Period
  /** Undefined: the size that fits the period best. */
  windowSize?: WindowSize
  zone: string
  groupBy: string[]
  filters: Record<string, string>
}

export type Theme = 'auto' | 'light' | 'dark'

export const AGGREGATIONS: Readonly<Record<PortalMeter['aggregation'], { label: string; adds: boolean }>> = {
  SUM: { label: 'Total', adds: true },
  COUNT: { label: 'Count', adds: true },
  AVG: { label: 'Average', adds: false },
  MIN: { label: 'Minimum', adds: false },
  MAX: { label: 'Maximum', adds: false },
  UNIQUE_COUNT: { label: 'Unique', adds: false },
  LATEST: { label: 'Latest', adds: false },
}

const SIZES: readonly string[] = ['MINUTE', 'HOUR', 'DAY', 'MONTH']
const DATE = /^\d{4}-\d{2}-\d{2}$/
const ANCHORED = /^(?:last-)?month@(?:[1-9]|[12]\d|3[01])$/
const [FIRST_DATE, LAST_DATE] = ['1970-01-01', '2099-12-31']
const [SHORTEST_REFRESH, LONGEST_REFRESH] = [0.5, 86_400] // seconds

export function defaultView(): View {
  return { period: '30d', zone: ownZone(), groupBy: [], filters: {} }
}

/** Read a view from the parameters of an address. A missing or invalid parameter leaves the value of `defaults`. */
export function readView(params: URLSearchParams, defaults: View = defaultView()): View {
  const [period, zone, size] = [params.get('period'), params.get('zone'), params.get('window')?.toUpperCase()]
  return {
    meter: params.get('meter') ?? defaults.meter,
    period: (period ? readPeriod(period) : undefined) ?? defaults.period,
    windowSize: size && SIZES.includes(size) ? (size as WindowSize) : defaults.windowSize,
    zone: (zone ? knownZone(zone) : undefined) ?? defaults.zone,
    groupBy: params.has('group') ? params.getAll('group').filter(Boolean) : defaults.groupBy,
    filters: params.has('filter') ? Object.fromEntries(params.getAll('filter').map(readFilter).filter(([, value]) => value)) : defaults.filters,
  }
}

/** Write a view as the parameters of an address. Values that are the default are left out. */
export function writeView(view: View): URLSearchParams {
  const params = new URLSearchParams()
  if (view.meter) params.set('meter', view.meter)
  if (typeof view.period !== 'string') params.set('period', `${view.period.from}..${view.period.to}`)
  else if (view.period !== '30d') params.set('period', view.period)
  if (view.windowSize) params.set('window', view.windowSize.toLowerCase())
  if (view.zone !== ownZone()) params.set('zone', view.zone)
  for (const key of view.groupBy) params.append('group', key)
  for (const [key, value] of Object.entries(view.filters)) params.append('filter', `${key}:${value}`)
  return params
}

/** Return a complete view: a value that is missing or invalid gets its default. */
export function viewOf(given: Partial<View> = {}): View {
  const view = { ...defaultView(), ...given }
  const period = typeof view.period === 'string' ? view.period : `${view.period.from}..${view.period.to}`
  return { ...view, period: readPeriod(period) ?? '30d', zone: knownZone(view.zone) ?? ownZone() }
}

/**
 * Read `7d`, `month@15`, `current`, or two dates, both included: `2026-11-01..2026-11-30`. Return undefined for any
 * other text.
 */
export function readPeriod(text: string): Period | undefined {
  if (text === 'current' || PRESETS.some((preset) => preset.value === text)) return text as Preset | 'current'
  if (ANCHORED.test(text)) return text.endsWith('@1') ? (text.slice(0, -2) as Preset) : (text as AnchoredMonth)
  const [from, to, ...rest] = text.split('..')
  return rest.length === 0 && isDate(from) && isDate(to) && from <= to ? { from, to } : undefined
}

/** Read `tokens:tokens,storage:GB` into a map from meter slug to unit. */
export function readUnits(text: string | null): Record<string, string> {
  return Object.fromEntries((text ?? '').split(',').filter((part) => part.includes(':')).map(readPair))
}

/** Read the seconds between two refreshes. Return undefined for a text that is not a number. */
export function readSeconds(text: string | null): number | undefined {
  return text === null || text.trim() === '' || Number.isNaN(Number(text)) ? undefined : boundSeconds(Number(text))
}

/** Return 0 (no refresh) for 0 or less, else the seconds, limited to the range from 0.5 seconds to a day. */
export function boundSeconds(seconds: number): number {
  return seconds > 0 ? Math.min(Math.max(seconds, SHORTEST_REFRESH), LONGEST_REFRESH) : 0
}

/** Return whether a text is a date (`2026-11-01`) within the range that usage can have. */
export function isDate(text: string | undefined): text is string {
  return text !== undefined && DATE.test(text) && !Number.isNaN(Date.parse(text)) && text >= FIRST_DATE && text <= LAST_DATE
}

/**
 * Return the value of an object's own member, undefined if it has none. The name may be one that every object inherits
 * (`constructor`).
 */
export function own<T>(map: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(map, name) ? map[name] : undefined
}

/** Read `key:value`. The value keeps the spaces around it. */
function readFilter(text: string): [string, string] {
  return [readPair(text)[0], text.slice(text.indexOf(':') + 1)]
}

/** Read `key:value` without the spaces around both. The value is '' where there is no colon. */
export function readPair(text: string): [string, string] {
  const colon = text.indexOf(':')
  return colon < 0 ? [text, ''] : [text.slice(0, colon).trim(), text.slice(colon + 1).trim()]
}
