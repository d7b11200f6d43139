/**
 * A customer's usage over HTTP: the SDK's portal client, and what Meterport answers beyond it.
 *
 * Owns: the routes a portal token opens, exact numbers out of their answers, and what a failure means to a reader.
 * Source: docs/contract.md "Portal".
 */
import { OpenMeter, type Config } from '@openmeter/sdk/portal'
import { parseExact } from './exact'

const LONGEST_PAUSE_MS = 3_600_000
const PROBE_MS = 5000

export type WindowSize = 'MINUTE' | 'HOUR' | 'DAY' | 'MONTH'

export interface UsageQuery {
  from?: Date
  to?: Date
  /** Left out: one row per group. */
  windowSize?: WindowSize
  windowTimeZone?: string
  groupBy?: readonly string[]
  filterGroupBy?: Readonly<Record<string, string>>
}

/** `value` is a decimal in full; windows are RFC 3339 in the zone asked for. */
export interface UsageRow {
  value: string
  windowStart: string
  windowEnd: string
  subject: string | null
  groupBy: Record<string, string>
  /** The usage of all groups together that have no row of their own; `groupBy` is empty then. */
  isOthers?: boolean
}

/** Usage of the largest groups, and of all others together where there are more. `groupCount`: how many there are. */
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

/** Who the token is of, for people. A period that was given has a start, an end, or both (RFC 3339). */
export interface PortalSubject {
  key: string
  displayName?: string
  currentPeriodStart?: string
  currentPeriodEnd?: string
}

/**
 * What a reader can do about it: `expired`, `revoked` and `invalid` ask for another token, `zone` for another time zone,
 * `large` for less at once, `blocked` for another site: Meterport answers, but this site is not let read it.
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

  /** Whether only another token helps. */
  get needsToken(): boolean {
    return this.kind === 'expired' || this.kind === 'revoked' || this.kind === 'invalid'
  }
}

/** The SDK's client, with exact usage, the meters a token allows, values of a group-by key, and CSV. */
export class PortalClient extends OpenMeter {
  readonly #baseUrl: string
  readonly #authorization: string
  readonly #fetch: (request: Request) => Promise<Response>
  readonly #heard: Heard

  constructor(config: Config & { baseUrl: string }) {
    const heard: Heard = { answered: false, quietUntil: 0, ahead: 0 }
    const fetch = listening(config.fetch ?? ((request) => globalThis.fetch(request)), heard)
    super({ ...config, fetch })
    this.#heard = heard
    this.#fetch = fetch
    this.#baseUrl = config.baseUrl.replace(/\/+$/, '')
    this.#authorization = `Bearer ${config.portalToken}`
  }

  /** Whether the token opened anything yet. */
  get answered(): boolean {
    return this.#heard.answered
  }

  /** Until when (Unix milliseconds of this computer) the API wishes to be asked nothing more. */
  get quietUntil(): number {
    return this.#heard.quietUntil
  }

  /** Return the time on the clock of the answers, Unix milliseconds: that of this computer may be wrong. */
  now(): number {
    return Date.now() + this.#heard.ahead
  }

  /** Return usage with every digit. Throws UsageError. */
  async usage(slug: string, query: UsageQuery, signal?: AbortSignal): Promise<UsageRow[]> {
    // The SDK hands further options to its fetch: as text the numbers keep their digits and texts stay texts.
    const options = { signal, parseAs: 'text' } as { signal?: AbortSignal }
    // Its type knows no MONTH, which the API answers.
    const text = await this.#asked(() => this.query(slug, asSent(query) as Parameters<OpenMeter['query']>[1], options))
    return (parseExact(text as unknown as string) as { data: UsageRow[] }).data
  }

  /** Return usage of so many groups at most: the largest of the range, and all others as one. Throws UsageError. */
  async largest(slug: string, query: UsageQuery, maxGroups: number, signal?: AbortSignal): Promise<LargestGroups> {
    const path = `/meters/${encodeURIComponent(slug)}/query`
    const answer = await this.#get(path, { ...asSent(query), maxGroups: String(maxGroups) }, 'application/json', signal)
    const { data, groupCount } = parseExact(await answer.text()) as { data: AnsweredRow[]; groupCount?: string }
    return { rows: data.map(named), groupCount: Number(groupCount ?? data.length) }
  }

  /** Return the meters the token allows, by slug. Throws UsageError. */
  async meters(signal?: AbortSignal): Promise<PortalMeter[]> {
    return (await this.#get('/meters', {}, 'application/json', signal)).json() as Promise<PortalMeter[]>
  }

  /** Return who the token is of, with the current period that the operator gave. Throws UsageError. */
  async subject(signal?: AbortSignal): Promise<PortalSubject> {
    return (await this.#get('/subject', {}, 'application/json', signal)).json() as Promise<PortalSubject>
  }

  /**
   * Return values a group-by key has, sorted; the API looks back 90 days, over 30 days at most.
   *
   * `search`: only those that hold this text, in any case. `limit`: so many at most; the API has a limit of its own.
   */
  async values(slug: string, key: string, from: Date, to: Date, signal?: AbortSignal, { search = '', limit }: ValueSearch = {}): Promise<string[]> {
    const path = `/meters/${encodeURIComponent(slug)}/group-by/${encodeURIComponent(key)}/values`
    const asked = { ...asSent({ from, to }), ...(search && { search }), ...(limit && { limit: String(limit) }) }
    return (await this.#get(path, asked, 'application/json', signal)).json() as Promise<string[]>
  }

  /** Return usage as the API writes it in CSV: exact, for programs; spreadsheet.ts makes the file for people. Throws UsageError. */
  async csv(slug: string, query: UsageQuery, signal?: AbortSignal): Promise<Blob> {
    return (await this.#get(`/meters/${encodeURIComponent(slug)}/query`, asSent(query), 'text/csv', signal)).blob()
  }

  async #get(path: string, query: Sent, accept: string, signal?: AbortSignal): Promise<Response> {
    const url = new URL(`${this.#baseUrl}/api/v1/portal${path}`)
    for (const [name, value] of Object.entries(query)) {
      if (Array.isArray(value)) value.forEach((item) => url.searchParams.append(name, item))
      else if (typeof value === 'object') {
        for (const [key, text] of Object.entries(value)) url.searchParams.append(`${name}[${key}]`, text)
      } else url.searchParams.append(name, value)
    }
    const headers = { Accept: accept, Authorization: this.#authorization }
    return this.#asked(async () => {
      const response = await this.#fetch(new Request(url, { headers, signal }))
      if (response.ok) return response
      const problem = (await response.json().catch(() => ({}))) as { detail?: string; code?: string }
      throw refusal(response.status, problem.detail ?? response.statusText, problem.code)
    })
  }

  async #asked<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call()
    } catch (error) {
      const failure = told(error)
      if (!(failure instanceof UsageError) || failure.kind !== 'offline' || !(await this.#isBlocked())) throw failure
      if (!this.#heard.warned) console.warn(blockedAdvice(this.#baseUrl))
      this.#heard.warned = true
      throw new UsageError('blocked', failure.message)
    }
  }

  /** Whether something answers that this site is not let read: browsers send such a request, and hide its answer. */
  async #isBlocked(): Promise<boolean> {
    if (typeof location === 'undefined' || new URL(this.#baseUrl, location.href).origin === location.origin) return false
    const signal = AbortSignal.timeout(PROBE_MS)
    const probe = new Request(`${this.#baseUrl}/api/v1/portal/meters`, { mode: 'no-cors', cache: 'no-store', credentials: 'omit', signal })
    return this.#fetch(probe).then(() => true, () => false)
  }
}

/** Say to whoever runs the site, on the console, what to look at: a browser does not say which of these it is. */
function blockedAdvice(baseUrl: string): string {
  return (
    `Meterport: ${baseUrl} answers, but the browser does not let ${location.origin} read the answer. Either the setting ` +
    'server.cors_origins does not name this origin, or a request header that this site adds is not allowed, or a proxy ' +
    'before Meterport answers by itself. See docs/portal.md, "When usage cannot be reached".'
  )
}

interface Heard {
  answered: boolean
  quietUntil: number
  /** By how many milliseconds the clock of the answers is ahead of this computer's. */
  ahead: number
  /** Whether the console has the advice for a site that is not let read answers. */
  warned?: boolean
}

/** Return a fetch that notes what answers say beyond usage. */
function listening(fetch: (request: Request) => Promise<Response>, heard: Heard) {
  return async (request: Request): Promise<Response> => {
    const response = await fetch(request)
    heard.answered ||= response.ok
    const date = Date.parse(response.headers.get('Date') ?? '')
    if (!Number.isNaN(date)) heard.ahead = date - Date.now()
    const pause = response.ok ? 0 : pauseOf(response.headers.get('Retry-After'), Date.now() + heard.ahead)
    if (pause > 0) heard.quietUntil = Date.now() + pause
    return response
  }
}

/** Return the milliseconds a Retry-After asks for, which is seconds or a date; not more than an hour, whoever wrote it. */
function pauseOf(text: string | null, now: number): number {
  if (!text) return 0
  const pause = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now
  return pause > 0 ? Math.min(pause, LONGEST_PAUSE_MS) : 0
}

export interface ValueSearch {
  search?: string
  limit?: number
}

type Sent = Record<string, string | string[] | Record<string, string>>
type AnsweredRow = Omit<UsageRow, 'groupBy'> & { groupBy: Record<string, string | null> }

/** Return a row as it is shown: no value is null, so null stands for all groups without a row. */
function named(row: AnsweredRow): UsageRow {
  const isOthers = Object.values(row.groupBy).some((value) => value === null)
  return isOthers ? { ...row, groupBy: {}, isOthers } : (row as UsageRow)
}

function asSent(query: UsageQuery): Sent {
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

/** Return what an error means; an abort stays what it is. */
function told(error: unknown): unknown {
  if (error instanceof UsageError || (error instanceof DOMException && error.name === 'AbortError')) return error
  if (error instanceof Error && error.name === 'HTTPError') {
    const answered = error as Error & { status: number; getField(key: string): unknown }
    const [detail, code] = ['detail', 'code'].map((name) => answered.getField(name))
    return refusal(answered.status, typeof detail === 'string' ? detail : answered.message, code)
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
