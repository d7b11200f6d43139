// Uses the types that openapi-typescript generated, as an application would: node generated.js BASE_URL API_KEY.
// `tsc --strict` must accept it. Prints what it saw as one JSON object, which the test checks.
import createClient from 'openapi-fetch'
import type { components, paths } from './schema.js'

declare const process: { argv: string[] }
type Event = components['schemas']['Event']
type Usage = components['schemas']['Usage']

const [baseUrl, apiKey] = process.argv.slice(2) as [string, string]
const authorized = (token: string) => createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } })
const backend = authorized(apiKey)
const seen: Record<string, unknown> = {}
const month = { from: '2026-11-01T00:00:00Z', to: '2026-12-01T00:00:00Z' }
const path = { meter: 'generated_ts' }

const meter = await backend.POST('/api/v1/meters', {
  body: {
    slug: 'generated_ts',
    name: 'Tokens',
    eventType: 'typed-prompt',
    aggregation: 'SUM',
    valueProperty: '$.tokens',
    groupBy: { model: '$.model' },
    metadata: { team: 'billing' },
  },
})
seen.created = [meter.data?.slug, meter.data?.metadata?.team]

const event = (id: string, subject: string, data: Event['data']): Event => ({
  id, source: 'typed', type: 'typed-prompt', subject, specversion: '1.0', time: '2026-11-02T10:00:00Z', data, traceparent: '00-ab',
})
const alone = await backend.POST('/api/v1/events', { body: event('a', 'acme', { tokens: 1, model: 'large' }) })
const many = [event('b', 'acme', { tokens: 2, model: 'small' }), event('c', 'other', { tokens: 4, model: 'small' })]
const together = await backend.POST('/api/v1/events', { body: many })
seen.ingested = [alone.response.status, together.response.status]

const rows = (usage: Usage | string | undefined) => {
  if (usage === undefined || typeof usage === 'string') return usage
  return usage.data.map((row) => [row.subject, row.groupBy.model ?? null, row.value])
}
const grouped = () =>
  backend.GET('/api/v1/meters/{meter}/query', { params: { path, query: { ...month, groupBy: ['subject', 'model'] } } })
let usage = await grouped()
for (let tries = 0; tries < 100 && rows(usage.data)?.length !== 3; tries++) {
  await new Promise((resolve) => setTimeout(resolve, 100))
  usage = await grouped()
}
seen.grouped = rows(usage.data)
const narrowed = { ...month, subject: ['acme', 'other'], filterGroupBy: { model: 'small' } }
seen.filtered = rows((await backend.GET('/api/v1/meters/{meter}/query', { params: { path, query: narrowed } })).data)
const filter: components['schemas']['TextFilters'] = { model: { $or: [{ $eq: 'large' }, { $like: 'nothing%' }, null] } }
const advanced = { ...month, advancedMeterGroupByFilters: JSON.stringify(filter) }
seen.advanced = rows((await backend.GET('/api/v1/meters/{meter}/query', { params: { path, query: advanced } })).data)
const body = { ...month, windowSize: 'DAY', advancedMeterGroupByFilters: filter } as const
seen.posted = rows((await backend.POST('/api/v1/meters/{meter}/query', { params: { path }, body })).data)

const search: components['schemas']['EventSearch'] = { type: { $eq: 'typed-prompt' }, id: { $in: ['b', 'c'] } }
const page = await backend.GET('/api/v2/events', { params: { query: { filter: JSON.stringify(search) } } })
seen.searched = page.data?.items.map((item) => [item.event.id, item.event.data?.tokens, item.event.traceparent]).sort()

const subject = await backend.POST('/api/v1/subjects', { body: [{ key: 'acme', metadata: { plan: { seats: 3 } } }] })
seen.subject = subject.data?.map((saved) => saved.metadata?.plan)

const token = await backend.POST('/api/v1/portal/tokens', { body: { subject: 'acme' } })
const customer = authorized(token.data?.token ?? '')
const ask = () =>
  customer.GET('/api/v1/portal/meters/{slug}/query', { params: { path: { slug: 'generated_ts' }, query: { groupBy: ['model'] } } })
seen.portal = rows((await ask()).data)
await backend.POST('/api/v1/portal/tokens/invalidate', { body: { id: token.data?.id ?? '' } })
const listed = await backend.GET('/api/v1/portal/tokens')
seen.revoked = listed.data?.filter((one) => one.id === token.data?.id).map((one) => one.revoked)
seen.refused = (await ask()).error?.detail

const missing = await backend.GET('/api/v1/meters/{meter}', { params: { path: { meter: 'nothing_here' } } })
seen.missing = [missing.response.status, missing.error?.code, missing.error?.detail]
console.log(JSON.stringify(seen))
