/**
 * A customer's usage over HTTP: the SDK's portal client, and the routes that only Meterport has.
 *
 * Owns: the routes that a portal token opens, the exact numbers of their answers, and what a failure means to a reader.
 * Source: docs/contract.md "Portal".
 */
import { OpenMeter, type Config } from '@openmeter/sdk/portal'
import { parseExact } from './exact'

const MAX_RETRY_AFTER_MS = 3_600_000
const PROBE_MS = 5000

export type WindowSize = 'MINUTE' | 'HOUR' | 'DAY' | 'MONTH'

export interface UsageQuery {
  from?: Date
  to?: Date
  /** Undefined: one row per group. */
  windowSize?: WindowSize
  windowTimeZone?: string
  groupBy?: readonly string[]
  filterGroupBy?: Readonly<Record<string, string>>
}

/** `value` is an exact decimal. The windows are RFC 3339 texts in the requested time zone. */
export interface UsageRow {
  value: string
  windowStart: string
  windowEnd: string
  subject: string | null
  groupBy: Record<string, string>
  /** Whether the row is the usage of all groups together that have no row of their own. Then `groupBy` is empty. */
  isOthers?: boolean
}

/**
 * Usage of the largest groups, and of all others together if there are more. `groupCount` is the number of all groups.
 */
export interface LargestGroups {
  rows: UsageRow[]
  groupCount: number
}

export interface PortalMeter {
  slug: string
  name: string
  description?: string
  aggregation: 'SUM' | 'COUNT' | 'AVG' | 'MIN' | 'MAX' | 'UNIQUE_COUNT' | 'LATEST'
  groupBy?: Record<string, string>
}

/** The subject of the token, for people. A current period has a start, an end, or both (RFC 3339). */
export interface PortalSubject {
  key: string
  displayName?: string
  currentPeriodStart?: string
  currentPeriodEnd?: string
}

/**
 * Why a request failed, by what a reader can do about it. `expired`, `revoked` and `invalid` need another token, `zone`
 * another time zone, `large` a smaller query. `blocked`: Meterport answers, but the browser does not let this site read
 * the answer.
 */
export type FailureKind =
  | 'expired' | 'revoked' | 'invalid' | 'forbidden' | 'missing' | 'zone' | 'large' | 'refused' | 'unavailable' | 'offline' | 'blocked'

export class UsageError extends Error {
  override name = 'UsageError'
  constructor(
    readonly kind: FailureKind,
    message: string,
    readonly status?: number,
  ) {
    super(message)
  }

  /** Whether only another token can repair this. */
  get needsToken(): boolean {
    return this.kind === 'expired' || this.kind === 'revoked' || this.kind === 'invalid'
  }
}

/** The SDK's client, with exact usage, the meters that a token allows, the values of a group-by key, and CSV. */
export class PortalClient extends OpenMeter {
  readonly #baseUrl: string
  readonly #authorization: string
  readonly #fetch: (request: Request) => Promise<Response>
  readonly #state: AnswerState

  constructor(config: Config & { baseUrl: string }) {
    const state: AnswerState = { answered: false, quietUntil: 0, ahead: 0 }
    const fetch = recordingFetch(config.fetch ?? ((request) => globalThis.fetch(request)), state)
    super({ ...config, fetch })
    this.#state = state
    this.#fetch = fetch
    this.#baseUrl = config.baseUrl.replace(/\/+$/, '')
    this.#authorization = `Bearer ${config.portalToken}`
  }

  /** Whether any request with this token has succeeded yet. */
  get answered(): boolean {
    return this.#state.answered
  }

  /**
   * The time until which the API asks for no more requests: Unix milliseconds by this computer's clock, 0 if it does
   * not ask.
   */
  get quietUntil(): number {
    return this.#state.quietUntil
  }

  /** Return the time by the server's clock, Unix milliseconds: this computer's clock may be wrong. */
  now(): number {
    return Date.now() + this.#state.ahead
  }

  /** Return usage with all digits. Throws UsageError. */
  async usage(slug: string, query: UsageQuery, signal?: AbortSignal): Promise<UsageRow[]> {
    // The SDK passes further options to its fetch. Read as text, the numbers keep all their digits.
    const options = { signal, parseAs: 'text' } as { signal?: AbortSignal }
    // The SDK's type lacks MONTH, which the API accepts.
    const text = await this.#withFailures(() => this.query(slug, toParameters(query) as Parameters<OpenMeter['query']>[1], options))
    return (parseExact(text as unknown as string) as { data: UsageRow[] }).data
  }

  /**
   * Return the usage of the `maxGroups` largest groups of the range, and of all others as one row. Throws UsageError.
   */
  async largest(slug: string, query: UsageQuery, maxGroups: number, signal?: AbortSignal): Promise<LargestGroups> {
    const path = `/meters/${encodeURIComponent(slug)}/query`
    const answer = await this.#get(path, { ...toParameters(query), maxGroups: String(maxGroups) }, 'application/json', signal)
    const { data, groupCount } = parseExact(await answer.text()) as { data: AnsweredRow[]; groupCount?: string }
    return { rows: data.map(toUsageRow), groupCount: Number(groupCount ?? data.length) }
  }

  /** Return the meters that the token allows, sorted by slug. Throws UsageError. */
  async meters(signal?: AbortSignal): Promise<PortalMeter[]> {
    return (await this.#get('/meters', {}, 'application/json', signal)).json() as Promise<PortalMeter[]>
  }

  /** Return the subject of the token, with the current period that the operator set. Throws UsageError. */
  async subject(signal?: AbortSignal): Promise<PortalSubject> {
    return (await this.#get('/subject', {}, 'application/json', signal)).json() as Promise<PortalSubject>
  }

  /**
   * Return the values of a group-by key, sorted. The API looks back at most 90 days, over a range of at most 30 days.
   *
   * `search`: only values that contain this text, ignoring case. `limit`: at most this many; the API has its own limit
   * too. Throws UsageError.
   */
  async values(slug: string, key: string, from: Date, to: Date, signal?: AbortSignal, { search = '', limit }: ValueSearch = {}): Promise<string[]> {
    const path = `/meters/${encodeURIComponent(slug)}/group-by/${encodeURIComponent(key)}/values`
    const parameters = { ...toParameters({ from, to }), ...(search && { search }), ...(limit && { limit: String(limit) }) }
    return (await this.#get(path, parameters, 'application/json', signal)).json() as Promise<string[]>
  }

  /**
   * Return usage as the API's CSV, which is exact and for programs. spreadsheet.ts makes the file for people. Throws
   * UsageError.
   */
  async csv(slug: string, query: UsageQuery, signal?: AbortSignal): Promise<Blob> {
    return (await this.#get(`/meters/${encodeURIComponent(slug)}/query`, toParameters(query), 'text/csv', signal)).blob()
  }

  async #get(path: string, query: QueryParameters, accept: string, signal?: AbortSignal): Promise<Response> {
    const url = new URL(`${this.#baseUrl}/api/v1/portal${path}`)
    for (const [name, value] of Object.entries(query)) {
      if (Array.isArray(value)) value.forEach((item) => url.searchParams.append(name, item))
      else if (typeof value === 'object') {
        for (const [key, text] of Object.entries(value)) url.searchParams.append(`${name}[${key}]`, text)
      } else url.searchParams.append(name, value)
    }
    const headers = { Accept: accept, Authorization: this.#authorization }
    return this.#withFailures(async () => {
      const response = await this.#fetch(new Request(url, { headers, signal }))
      if (response.ok) return response
      const problem = (await response.json().catch(() => ({}))) as { detail?: string; code?: string }
      throw refusal(response.status, problem.detail ?? response.statusText, problem.code)
    })
  }

  async #withFailures<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call()
    } catch (error) {
      const failure = failureOf(error)
      if (!(failure instanceof UsageError) || failure.kind !== 'offline' || !(await this.#isBlocked())) throw failure
      if (!this.#state.warned) console.warn(blockedAdvice(this.#baseUrl))
      this.#state.warned = true
      throw new UsageError('blocked', failure.message)
    }
  }

  /** Return whether the server answers but the browser hides the answer: it sends a `no-cors` request for any site. */
  async #isBlocked(): Promise<boolean> {
    if (typeof location === 'undefined' || new URL(this.#baseUrl, location.href).origin === location.origin) return false
    const signal = AbortSignal.timeout(PROBE_MS)
    const probe = new Request(`${this.#baseUrl}/api/v1/portal/meters`, { mode: 'no-cors', cache: 'no-store', credentials: 'omit', signal })
    return this.#fetch(probe).then(() => true, () => false)
  }
}

/**
 * Return the advice for the site's operator, shown on the console. A browser does not say which of these reasons it is.
 */
function blockedAdvice(baseUrl: string): string {
  return (
    `Meterport: ${baseUrl} answers, but the browser does not let ${location.origin} read the answer. Either the setting ` +
    'server.cors_origins does not name this origin, or a request header that this site adds is not allowed, or a proxy ' +
    'before Meterport answers by itself. See docs/portal.md, "When usage cannot be reached".'
  )
}

/** What the answers to a client have shown so far, beside usage. */
interface AnswerState {
  answered: boolean
  quietUntil: number
  /** The milliseconds by which the server's clock is ahead of this computer's. */
  ahead: number
  /** Whether the advice for a site that may not read the answers was written to the console. */
  warned?: boolean
}

/** Return a fetch that records in `state` whether an answer succeeded, the server's time and Retry-After. */
function recordingFetch(fetch: (request: Request) => Promise<Response>, state: AnswerState) {
  return async (request: Request): Promise<Response> => {
    const response = await fetch(request)
    state.answered ||= response.ok
    const date = Date.parse(response.headers.get('Date') ?? '')
    if (!Number.isNaN(date)) state.ahead = date - Date.now()
    const pause = response.ok ? 0 : pauseOf(response.headers.get('Retry-After'), Date.now() + state.ahead)
    if (pause > 0) state.quietUntil = Date.now() + pause
    return response
  }
}

/** Return the milliseconds of a Retry-After header, which holds seconds or a date: at most an hour, 0 for none. */
function pauseOf(text: string | null, now: number): number {
  if (!text) return 0
  const pause = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now
  return pause > 0 ? Math.min(pause, MAX_RETRY_AFTER_MS) : 0
}

export interface ValueSearch {
  search?: string
  limit?: number
}

type QueryParameters = Record<string, string | string[] | Record<string, string>>
type AnsweredRow = Omit<UsageRow, 'groupBy'> & { groupBy: Record<string, string | null> }

/**
 * Return an answered row as a UsageRow. A group-by value that is null marks the row of all other groups: no real value
 * is null.
 */
function toUsageRow(row: AnsweredRow): UsageRow {
  const isOthers = Object.values(row.groupBy).some((value) => value === null)
  return isOthers ? { ...row, groupBy: {}, isOthers } : (row as UsageRow)
}

function toParameters(query: UsageQuery): QueryParameters {
  const { from, to, windowSize, windowTimeZone, groupBy = [], filterGroupBy = {} } = query
  return {
    ...(from && { from: from.toISOString() }),
    ...(to && { to: to.toISOString() }),
    ...(windowSize && { windowSize }),
    ...(windowTimeZone && { windowTimeZone }),
    ...(groupBy.length > 0 && { groupBy: [...groupBy] }),
    ...(Object.keys(filterGroupBy).length > 0 && { filterGroupBy: { ...filterGroupBy } }),
  }
}

/** Return the UsageError that an error means. An AbortError is returned unchanged. */
function failureOf(error: unknown): unknown {
  if (error instanceof UsageError || (error instanceof DOMException && error.name === 'AbortError')) return error
  if (error instanceof Error && error.name === 'HTTPError') {
    const response = error as Error & { status: number; getField(key: string): unknown }
    const [detail, code] = ['detail', 'code'].map((name) => response.getField(name))
    return refusal(response.status, typeof detail === 'string' ? detail : response.message, code)
  }
  return new UsageError('offline', error instanceof Error ? error.message : String(error))
}

function refusal(status: number, detail: string, code?: unknown): UsageError {
  return new UsageError(code === 'too-many-rows' ? 'large' : kindOf(status, detail), detail, status)
}

function kindOf(status: number, detail: string): FailureKind {
  if (status === 401) {
    if (detail === 'invalid token: expired') return 'expired'
    if (detail === 'invalid token: revoked') return 'revoked'
    return detail === 'meter slug not allowed' ? 'forbidden' : 'invalid'
  }
  if (status === 404) return 'missing'
  if (status === 400 && detail.includes('unknown time zone')) return 'zone'
  return status >= 500 || status === 429 ? 'unavailable' : 'refused'
}
