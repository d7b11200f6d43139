/** One meter's usage as the views show it: rows and totals as answered, and the columns of a chart made from them. */
import { useContext } from 'react'
import type { ChartContent, Series } from './chart'
import { type LargestGroups, type PortalClient, type PortalMeter, UsageError, type UsageQuery, type UsageRow, type WindowSize } from './client'
import { PortalContext } from './context'
import { addDecimals, formatFitting, formatShort, LINE } from './exact'
import { dayLabel, openWindow, partialWindows, sizeFor, sizesFor, type Span, spanOf, windowLabel, windowStarts } from './periods'
import { type Polled, usePolled } from './polling'
import { AGGREGATIONS, type View } from './view'
import { nameShown } from './unseen'

const IN_CHART = 8 // groups with a colour of their own
const IN_TABLE = 40 // groups with rows of their own at most
const ROWS = 1000 // of groups and windows together: more windows, fewer groups
const ALL = 'all' // ids of series that are no group: those of groups are lists
const REST = 'rest'

export interface Group {
  keys: Record<string, string>
  value: string
}

/**
 * `total` is null where there is no value; `groups` are the largest first, [] without a group-by. `groupCount` is how many
 * groups there are; `others` is the usage of all those together that are not among `groups`, if there are any.
 */
export interface MeterUsage {
  span: Span
  windowSize: WindowSize
  zone: string
  rows: UsageRow[]
  groups: Group[]
  groupCount: number
  others: string | null
  total: string | null
  subject: string | null
  /** When it was answered, if the span was not over then: the start of the window of that instant. */
  open: number | null
}

/** Return the window size a view shows a span in: the chosen one where it fits. */
export function sizeOf(view: View, span: Span): WindowSize {
  return view.windowSize && sizesFor(span).includes(view.windowSize) ? view.windowSize : sizeFor(span)
}

/** Keep the usage of a meter fresh. */
export function useMeterUsage(client: PortalClient, meter: PortalMeter | undefined, view: View): Polled<MeterUsage> {
  const { seconds, currentPeriod, isPeriodPending, onUnknownZone } = useContext(PortalContext)
  const key = meter && !isPeriodPending ? JSON.stringify([meter.slug, view.windowSize, view.groupBy, view.filters, periodKey(view, currentPeriod)]) : null
  return usePolled(
    key,
    async (signal) => {
      if (!meter) throw new Error('no meter')
      try {
        return await askUsage(client, meter, view, currentPeriod, signal)
      } catch (error) {
        if (error instanceof UsageError && error.kind === 'zone') onUnknownZone?.(view.zone)
        throw error
      }
    },
    seconds,
  )
}

/** Return what tells a view's period from every other. */
export function periodKey({ period, zone }: View, currentPeriod: Span | undefined): string {
  return JSON.stringify([period, zone, period === 'current' ? currentPeriod : undefined])
}

/** Return the query a view asks at an instant, without its windows. */
export function queryOf(view: View, meter: PortalMeter, span: Span): UsageQuery {
  const keys = Object.keys(meter.groupBy ?? {})
  return {
    from: new Date(span.from),
    to: new Date(span.to),
    windowTimeZone: view.zone,
    groupBy: view.groupBy.filter((key) => keys.includes(key)),
    filterGroupBy: Object.fromEntries(Object.entries(view.filters).filter(([key, value]) => value && keys.includes(key))),
  }
}

/** Ask for the usage of a view; once more where the answer is of a time when the period is another one already. */
async function askUsage(
  client: PortalClient, meter: PortalMeter, view: View, currentPeriod: Span | undefined, signal: AbortSignal,
): Promise<MeterUsage> {
  const spanNow = (): Span => spanOf(view.period, view.zone, client.now(), currentPeriod)
  const asked = spanNow()
  const usage = await askSpan(client, meter, view, asked, signal)
  const answered = spanNow()
  return answered.from === asked.from && answered.to === asked.to ? usage : askSpan(client, meter, view, answered, signal)
}

async function askSpan(client: PortalClient, meter: PortalMeter, view: View, span: Span, signal: AbortSignal): Promise<MeterUsage> {
  const windowSize = sizeOf(view, span)
  const query = queryOf(view, meter, span)
  const ask = askGroups(client, meter, query, groupsIn(span, windowSize, view.zone), signal)
  const [{ rows }, totals, grouped] = await Promise.all([
    ask(windowSize),
    client.usage(meter.slug, { ...query, groupBy: [] }, signal),
    query.groupBy?.length ? ask() : NO_GROUPS,
  ])
  return {
    span,
    windowSize,
    zone: view.zone,
    rows,
    groups: grouped.rows
      .filter(({ isOthers }) => !isOthers)
      .map((row) => ({ keys: row.groupBy, value: row.value }))
      .sort((one, other) => Number(other.value) - Number(one.value)),
    groupCount: grouped.groupCount,
    others: grouped.rows.find(({ isOthers }) => isOthers)?.value ?? null,
    total: totals[0]?.value ?? emptyTotal(meter),
    subject: totals[0]?.subject ?? null,
    open: openWindow(span, windowSize, view.zone, client.now()),
  }
}

const NO_GROUPS: LargestGroups = { rows: [], groupCount: 0 }

/** Return how many groups to ask for: an answer stays small however many windows the span has. */
function groupsIn(span: Span, windowSize: WindowSize, zone: string): number {
  const windows = windowStarts(span, windowSize, zone).length
  return Math.min(Math.max(Math.floor(ROWS / windows), IN_CHART), IN_TABLE)
}

function askGroups(client: PortalClient, meter: PortalMeter, query: UsageQuery, most: number, signal: AbortSignal) {
  return async (windowSize?: WindowSize): Promise<LargestGroups> => {
    const asked = { ...query, windowSize }
    if (query.groupBy?.length) return client.largest(meter.slug, asked, most, signal)
    return { ...NO_GROUPS, rows: await client.usage(meter.slug, asked, signal) }
  }
}

/** Return the total of a meter without usage: nothing counts as 0, but has no average. */
export function emptyTotal(meter: PortalMeter): string | null {
  return AGGREGATIONS[meter.aggregation].adds || meter.aggregation === 'UNIQUE_COUNT' ? '0' : null
}

/** Return what tells a group from every other: names may be the same. */
export function idOf(keys: Record<string, string>): string {
  return JSON.stringify(Object.values(keys))
}

function nameOf(keys: Record<string, string>): string {
  return Object.values(keys).map(groupText).join(' · ')
}

/** Write a group-by value; an empty one, or one that was not there, is said to be so. */
export function groupText(value: string): string {
  return value === '' || value === 'null' ? '(none)' : nameShown(value)
}

/**
 * Return a chart of usage: a column for each window of the span, one for each of the largest groups.
 *
 * What adds up has one more for all other groups. Of the others (averages, say) only the API could make one, and it does
 * not know which groups have a colour here.
 */
export function chartOf(usage: MeterUsage, meter: PortalMeter, unit: string, locale?: string): ChartContent {
  const { span, windowSize, zone, rows, groups, groupCount } = usage
  const { adds } = AGGREGATIONS[meter.aggregation]
  const parts = partialWindows(usage, locale)
  const starts = windowStarts(span, windowSize, zone, rows.map((row) => Date.parse(row.windowStart)))
  const places = new Map(starts.map((start, at) => [start, at]))
  const named = groups.slice(0, groupCount > IN_CHART && adds ? IN_CHART - 1 : IN_CHART)
  const columns = new Map(named.map(({ keys }) => [idOf(keys), emptyColumn(nameOf(keys), starts)]))
  if (columns.size === 0) columns.set(ALL, emptyColumn(meter.name, starts))
  else if (groupCount > named.length && adds) columns.set(REST, emptyColumn('Other', starts))
  for (const row of rows) {
    const at = places.get(Date.parse(row.windowStart))
    const column = columns.get(ALL) ?? columns.get(idOf(row.groupBy)) ?? columns.get(REST)
    if (at === undefined || !column) continue
    const before = column.values[at]
    column.values[at] = before === null ? row.value : addDecimals(before, row.value)
  }
  const series = [...columns].map(([id, { name, values }]): Series => ({
    id,
    name,
    values: values.map((value) => (value === null ? null : Number(value))),
    texts: values.map((value) => (value === null ? null : `${formatFitting(value, locale, LINE)}${unit && ` ${unit}`}`)),
  }))
  const stackable = adds && (series.length === 1 || !rows.some((row) => row.value.startsWith('-')))
  return {
    labels: starts.map((start) => windowLabel(start, windowSize, zone, locale, true)),
    days: daysOf(starts, windowSize, zone, locale),
    title: (at) => windowLabel(starts[at], windowSize, zone, locale),
    parts: starts.map((start) => parts.get(start)),
    series,
    shape: stackable ? 'bars' : 'lines',
    short: (value) => formatShort(value, locale),
  }
}

function emptyColumn(name: string, starts: number[]): { name: string; values: (string | null)[] } {
  return { name, values: starts.map(() => null) }
}

/** Return the day of each window of a clock, if there is more than one. */
function daysOf(starts: number[], size: WindowSize, zone: string, locale?: string): string[] | undefined {
  if (size === 'DAY' || size === 'MONTH') return undefined
  const days = starts.map((start) => dayLabel(start, zone, locale))
  return days[0] === days.at(-1) ? undefined : days
}
