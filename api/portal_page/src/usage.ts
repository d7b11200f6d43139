/**
 * One meter's usage as the views show it: the rows and totals of the answers, and the columns of a chart made from
 * them.
 */
import { useContext } from 'react'
import type { ChartContent, Series } from './chart'
import { type LargestGroups, type PortalClient, type PortalMeter, UsageError, type UsageQuery, type UsageRow, type WindowSize } from './client'
import { PortalContext } from './context'
import { addDecimals, formatFitting, formatShort, LINE_LENGTH } from './exact'
import { dayLabel, openWindow, partialWindows, sizeFor, sizesFor, type Span, spanOf, windowLabel, windowStarts } from './periods'
import { type Polled, usePolled } from './polling'
import { AGGREGATIONS, type View } from './viewState'
import { printableName } from './unseen'

const CHART_GROUPS = 8 // groups that have their own colour
const TABLE_GROUPS = 40 // groups that have their own rows, at most
const MAX_ROWS = 1000 // groups times windows: the more windows, the fewer groups
// The ids of series that are not a group. The id of a group is a JSON list, so it cannot be the same.
const ALL = 'all'
const REST = 'rest'

export interface Group {
  keys: Record<string, string>
  value: string
}

/**
 * The usage of one meter over a span.
 *
 * `total` is null if there is no value. `groups` is sorted, the largest first, and is [] without a group-by.
 * `groupCount` is the number of all groups. `others` is the usage of all groups together that are not among `groups`,
 * null if there are none.
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
  /** If the span was not over at the time of the answer: the start of the window that contains that time. Else null. */
  open: number | null
}

/** Return the window size in which a view shows a span: the chosen one if it fits, else the best one. */
export function sizeOf(view: View, span: Span): WindowSize {
  return view.windowSize && sizesFor(span).includes(view.windowSize) ? view.windowSize : sizeFor(span)
}

/** Keep the usage of a meter up to date. */
export function useMeterUsage(client: PortalClient, meter: PortalMeter | undefined, view: View): Polled<MeterUsage> {
  const { seconds, currentPeriod, isPeriodPending, onUnknownZone } = useContext(PortalContext)
  const key = meter && !isPeriodPending ? JSON.stringify([meter.slug, view.windowSize, view.groupBy, view.filters, periodKey(view, currentPeriod)]) : null
  return usePolled(
    key,
    async (signal) => {
      if (!meter) throw new Error('no meter')
      try {
        return await loadUsage(client, meter, view, currentPeriod, signal)
      } catch (error) {
        if (error instanceof UsageError && error.kind === 'zone') onUnknownZone?.(view.zone)
        throw error
      }
    },
    seconds,
  )
}

/** Return a text that differs between any two periods. */
export function periodKey({ period, zone }: View, currentPeriod: Span | undefined): string {
  return JSON.stringify([period, zone, period === 'current' ? currentPeriod : undefined])
}

/** Return the query of a view over a span, without a window size. */
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

/**
 * Load the usage of a view. If the period has moved by the time of the answer (at midnight, say), load it once more.
 */
async function loadUsage(
  client: PortalClient, meter: PortalMeter, view: View, currentPeriod: Span | undefined, signal: AbortSignal,
): Promise<MeterUsage> {
  const spanNow = (): Span => spanOf(view.period, view.zone, client.now(), currentPeriod)
  const requestedSpan = spanNow()
  const usage = await loadSpan(client, meter, view, requestedSpan, signal)
  const currentSpan = spanNow()
  const isSameSpan = currentSpan.from === requestedSpan.from && currentSpan.to === requestedSpan.to
  return isSameSpan ? usage : loadSpan(client, meter, view, currentSpan, signal)
}

async function loadSpan(client: PortalClient, meter: PortalMeter, view: View, span: Span, signal: AbortSignal): Promise<MeterUsage> {
  const windowSize = sizeOf(view, span)
  const query = queryOf(view, meter, span)
  const load = loadGroups(client, meter, query, groupsIn(span, windowSize, view.zone), signal)
  const [{ rows }, totals, grouped] = await Promise.all([
    load(windowSize),
    client.usage(meter.slug, { ...query, groupBy: [] }, signal),
    query.groupBy?.length ? load() : NO_GROUPS,
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

/** Return how many groups to ask for, so that the answer stays small however many windows the span has. */
function groupsIn(span: Span, windowSize: WindowSize, zone: string): number {
  const windows = windowStarts(span, windowSize, zone).length
  return Math.min(Math.max(Math.floor(MAX_ROWS / windows), CHART_GROUPS), TABLE_GROUPS)
}

function loadGroups(client: PortalClient, meter: PortalMeter, query: UsageQuery, maxGroups: number, signal: AbortSignal) {
  return async (windowSize?: WindowSize): Promise<LargestGroups> => {
    const windowed = { ...query, windowSize }
    if (query.groupBy?.length) return client.largest(meter.slug, windowed, maxGroups, signal)
    return { ...NO_GROUPS, rows: await client.usage(meter.slug, windowed, signal) }
  }
}

/** Return the total of a meter without usage: '0' for a sum or a count, null for an average and the like. */
export function emptyTotal(meter: PortalMeter): string | null {
  return AGGREGATIONS[meter.aggregation].adds || meter.aggregation === 'UNIQUE_COUNT' ? '0' : null
}

/** Return a text that identifies a group. Names do not: two groups may have the same name. */
export function idOf(keys: Record<string, string>): string {
  return JSON.stringify(Object.values(keys))
}

function nameOf(keys: Record<string, string>): string {
  return Object.values(keys).map(groupText).join(' · ')
}

/** Write a group-by value. An empty or missing one is written as "(none)". */
export function groupText(value: string): string {
  return value === '' || value === 'null' ? '(none)' : printableName(value)
}

/**
 * Return a chart of usage: a column for each window of the span, and a series for each of the largest groups.
 *
 * If the aggregation adds up, there is one more series for all other groups. For other aggregations (averages, say)
 * only the API could compute such a series, and it does not know which groups have a colour here.
 */
export function chartOf(usage: MeterUsage, meter: PortalMeter, unit: string, locale?: string): ChartContent {
  const { span, windowSize, zone, rows, groups, groupCount } = usage
  const { adds } = AGGREGATIONS[meter.aggregation]
  const parts = partialWindows(usage, locale)
  const starts = windowStarts(span, windowSize, zone, rows.map((row) => Date.parse(row.windowStart)))
  const indexes = new Map(starts.map((start, index) => [start, index]))
  const named = groups.slice(0, groupCount > CHART_GROUPS && adds ? CHART_GROUPS - 1 : CHART_GROUPS)
  const columns = new Map(named.map(({ keys }) => [idOf(keys), emptyColumn(nameOf(keys), starts)]))
  if (columns.size === 0) columns.set(ALL, emptyColumn(meter.name, starts))
  else if (groupCount > named.length && adds) columns.set(REST, emptyColumn('Other', starts))
  for (const row of rows) {
    const index = indexes.get(Date.parse(row.windowStart))
    const column = columns.get(ALL) ?? columns.get(idOf(row.groupBy)) ?? columns.get(REST)
    if (index === undefined || !column) continue
    const sum = column.values[index]
    column.values[index] = sum === null ? row.value : addDecimals(sum, row.value)
  }
  const series = [...columns].map(([id, { name, values }]): Series => ({
    id,
    name,
    values: values.map((value) => (value === null ? null : Number(value))),
    texts: values.map((value) => (value === null ? null : `${formatFitting(value, locale, LINE_LENGTH)}${unit && ` ${unit}`}`)),
  }))
  const stackable = adds && (series.length === 1 || !rows.some((row) => row.value.startsWith('-')))
  return {
    labels: starts.map((start) => windowLabel(start, windowSize, zone, locale, true)),
    days: daysOf(starts, windowSize, zone, locale),
    title: (index) => windowLabel(starts[index], windowSize, zone, locale),
    parts: starts.map((start) => parts.get(start)),
    series,
    shape: stackable ? 'bars' : 'lines',
    short: (value) => formatShort(value, locale),
  }
}

function emptyColumn(name: string, starts: number[]): { name: string; values: (string | null)[] } {
  return { name, values: starts.map(() => null) }
}

/**
 * Return the day of each window of a minute or an hour, or undefined if all are of one day or the windows are longer.
 */
function daysOf(starts: number[], size: WindowSize, zone: string, locale?: string): string[] | undefined {
  if (size === 'DAY' || size === 'MONTH') return undefined
  const days = starts.map((start) => dayLabel(start, zone, locale))
  return days[0] === days.at(-1) ? undefined : days
}
