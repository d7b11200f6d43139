/** What a reader looks at: meter, period, windows, zone, grouping, filters; and the same as text for an address. */
import type { PortalMeter, WindowSize } from './client'
import { type AnchoredMonth, knownZone, ownZone, PRESETS, type Period, type Preset } from './periods'

export interface View {
  meter?: string
  period: Period
  /** Left out: the size that fits the period best. */
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
const [FASTEST, SLOWEST] = [0.5, 86_400] // seconds

export function defaultView(): View {
  return { period: '30d', zone: ownZone(), groupBy: [], filters: {} }
}

/** Read a view; what is not understood is left at its default. */
export function readView(params: URLSearchParams, before: View = defaultView()): View {
  const [period, zone, size] = [params.get('period'), params.get('zone'), params.get('window')?.toUpperCase()]
  return {
    meter: params.get('meter') ?? before.meter,
    period: (period ? readPeriod(period) : undefined) ?? before.period,
    windowSize: size && SIZES.includes(size) ? (size as WindowSize) : before.windowSize,
    zone: (zone ? knownZone(zone) : undefined) ?? before.zone,
    groupBy: params.has('group') ? params.getAll('group').filter(Boolean) : before.groupBy,
    filters: params.has('filter') ? Object.fromEntries(params.getAll('filter').map(readFilter).filter(([, value]) => value)) : before.filters,
  }
}

/** Write a view; what is at its default is left out. */
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

/** Return a view that can be shown: what is missing or means nothing is at its default. */
export function viewOf(given: Partial<View> = {}): View {
  const view = { ...defaultView(), ...given }
  const period = typeof view.period === 'string' ? view.period : `${view.period.from}..${view.period.to}`
  return { ...view, period: readPeriod(period) ?? '30d', zone: knownZone(view.zone) ?? ownZone() }
}

/** Read `7d`, `month@15`, `current`, or two dates both included: `2026-11-01..2026-11-30`. */
export function readPeriod(text: string): Period | undefined {
  if (text === 'current' || PRESETS.some((preset) => preset.value === text)) return text as Preset | 'current'
  if (ANCHORED.test(text)) return text.endsWith('@1') ? (text.slice(0, -2) as Preset) : (text as AnchoredMonth)
  const [from, to, ...rest] = text.split('..')
  return rest.length === 0 && isDate(from) && isDate(to) && from <= to ? { from, to } : undefined
}

/** Read `tokens:tokens,storage:GB` into units by slug. */
export function readUnits(text: string | null): Record<string, string> {
  return Object.fromEntries((text ?? '').split(',').filter((part) => part.includes(':')).map(readPair))
}

/** Read seconds between two refreshes; what is no number is undefined. */
export function readSeconds(text: string | null): number | undefined {
  return text === null || text.trim() === '' || Number.isNaN(Number(text)) ? undefined : boundSeconds(Number(text))
}

/** Return 0, or seconds a page may well refresh in. */
export function boundSeconds(seconds: number): number {
  return seconds > 0 ? Math.min(Math.max(seconds, FASTEST), SLOWEST) : 0
}

/** Whether it is a date of a time usage can be of. */
export function isDate(text: string | undefined): text is string {
  return text !== undefined && DATE.test(text) && !Number.isNaN(Date.parse(text)) && text >= FIRST_DATE && text <= LAST_DATE
}

/** Return what a map holds under a name, which may be one that every object has (`constructor`). */
export function own<T>(map: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(map, name) ? map[name] : undefined
}

/** Read `key:value`; the value as it stands, spaces around it too. */
function readFilter(text: string): [string, string] {
  return [readPair(text)[0], text.slice(text.indexOf(':') + 1)]
}

export function readPair(text: string): [string, string] {
  const colon = text.indexOf(':')
  return colon < 0 ? [text, ''] : [text.slice(0, colon).trim(), text.slice(colon + 1).trim()]
}
