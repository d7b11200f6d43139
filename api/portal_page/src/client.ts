/**
 * A customer's usage over HTTP: the SDK's portal client, and what Meterport answers beyond it.
 *
 * Owns: the routes a portal token opens, exact numbers out of their answers, and what a failure means to a reader.
 * Source: docs/contract.md "Portal".
 */
import { OpenMeter, type Config } from '@openmeter/sdk/portal'
import { parseExact } from './exact'

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
}

export interface PortalMeter {
  slug: string
  name: string
  description?: string
  aggregation: 'SUM' | 'COUNT' | 'AVG' | 'MIN' | 'MAX' | 'UNIQUE_COUNT' | 'LATEST'
  groupBy?: Record<string, string>
}

/** What a reader can do about it: `expired`, `revoked` and `invalid` ask for another token. */
export type FailureKind = 'expired' | 'revoked' | 'invalid' | 'forbidden' | 'refused' | 'unavailable' | 'offline'

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
    const heard: Heard = { answered: false, quietUntil: 0 }
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

  /** Until when (Unix milliseconds) the API wishes to be asked nothing more. */
  get quietUntil(): number {
    return this.#heard.quietUntil
  }

  /** Return usage with every digit. Throws UsageError. */
  async usage(slug: string, query: UsageQuery, signal?: AbortSignal): Promise<UsageRow[]> {
    // The SDK hands further options to its fetch: as text the numbers keep their digits and texts stay texts.
    const options = { signal, parseAs: 'text' } as { signal?: AbortSignal }
    // Its type knows no MONTH, which the API answers.
    const text = await telling(() => this.query(slug, asSent(query) as Parameters<OpenMeter['query']>[1], options))
    return (parseExact(text as unknown as string) as { data: UsageRow[] }).data
  }

  /** Return the meters the token allows, by slug. Throws UsageError. */
  async meters(signal?: AbortSignal): Promise<PortalMeter[]> {
    return (await this.#get('', {}, 'application/json', signal)).json() as Promise<PortalMeter[]>
  }

  /** Return the values a group-by key has, sorted; the API looks back 90 days, over 30 days at most. */
  async values(slug: string, key: string, from: Date, to: Date, signal?: AbortSignal): Promise<string[]> {
    const path = `/${encodeURIComponent(slug)}/group-by/${encodeURIComponent(key)}/values`
    return (await this.#get(path, { from, to }, 'application/json', signal)).json() as Promise<string[]>
  }

  /** Return usage as the API writes it in CSV: exact, for programs; spreadsheet.ts makes the file for people. Throws UsageError. */
  async csv(slug: string, query: UsageQuery, signal?: AbortSignal): Promise<Blob> {
    return (await this.#get(`/${encodeURIComponent(slug)}/query`, query, 'text/csv', signal)).blob()
  }

  async #get(path: string, query: UsageQuery, accept: string, signal?: AbortSignal): Promise<Response> {
    const url = new URL(`${this.#baseUrl}/api/v1/portal/meters${path}`)
    for (const [name, value] of Object.entries(asSent(query))) {
      if (Array.isArray(value)) value.forEach((item) => url.searchParams.append(name, item))
      else if (typeof value === 'object') {
        for (const [key, text] of Object.entries(value)) url.searchParams.append(`${name}[${key}]`, text)
      } else url.searchParams.append(name, value)
    }
    const headers = { Accept: accept, Authorization: this.#authorization }
    return telling(async () => {
      const response = await this.#fetch(new Request(url, { headers, signal }))
      if (response.ok) return response
      const problem = (await response.json().catch(() => ({}))) as { detail?: string }
      throw refusal(response.status, problem.detail ?? response.statusText)
    })
  }
}

interface Heard {
  answered: boolean
  quietUntil: number
}

/** Return a fetch that notes what answers say beyond usage. */
function listening(fetch: (request: Request) => Promise<Response>, heard: Heard) {
  return async (request: Request): Promise<Response> => {
    const response = await fetch(request)
    heard.answered ||= response.ok
    const wait = Number(response.headers.get('Retry-After') ?? 0)
    if (!response.ok && wait > 0) heard.quietUntil = Date.now() + wait * 1000
    return response
  }
}

function asSent(query: UsageQuery): Record<string, string | string[] | Record<string, string>> {
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

async function telling<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw told(error)
  }
}

/** Return what an error means; an abort stays what it is. */
function told(error: unknown): unknown {
  if (error instanceof UsageError || (error instanceof DOMException && error.name === 'AbortError')) return error
  if (error instanceof Error && error.name === 'HTTPError') {
    const answered = error as Error & { status: number; getField(key: string): unknown }
    const detail = answered.getField('detail')
    return refusal(answered.status, typeof detail === 'string' ? detail : answered.message)
  }
  return new UsageError('offline', error instanceof Error ? error.message : String(error))
}

function refusal(status: number, detail: string): UsageError {
  return new UsageError(kindOf(status, detail), detail, status)
}

function kindOf(status: number, detail: string): FailureKind {
  if (status === 401) {
    if (detail === 'invalid token: expired') return 'expired'
    if (detail === 'invalid token: revoked') return 'revoked'
    return detail === 'meter slug not allowed' ? 'forbidden' : 'invalid'
  }
  return status >= 500 || status === 429 ? 'unavailable' : 'refused'
}
