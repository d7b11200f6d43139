// The first steps of a frontend with OpenMeter's unmodified SDK: meter, events, token, usage, errors.
// Usage: node portal.mjs BASE_URL API_KEY. Prints what it saw as one JSON object, which the test checks.
import { OpenMeter, HTTPError } from '@openmeter/sdk'
import { OpenMeter as Portal } from '@openmeter/sdk/portal'

const [baseUrl, apiKey] = process.argv.slice(2)
const openmeter = new OpenMeter({ baseUrl, apiKey })
const seen = {}

const meter = await openmeter.meters.create({
  slug: 'sdk_tokens',
  name: 'Tokens',
  eventType: 'sdk-prompt',
  aggregation: 'SUM',
  valueProperty: '$.tokens',
  groupBy: { model: '$.model' },
})
seen.created = meter.slug

for (const [id, model, tokens] of [['a', 'gpt-4', 10], ['b', 'gpt-4', 5.5], ['c', 'small', 1], ['a', 'gpt-4', 10]]) {
  await openmeter.events.ingest({
    id, source: 'sdk-test', type: 'sdk-prompt', subject: 'customer-1',
    time: new Date('2026-11-02T10:00:00Z'), data: { model, tokens },
  })
}

const token = await openmeter.portal.create({ subject: 'customer-1', allowedMeterSlugs: ['sdk_tokens'] })
seen.prefix = token.token.slice(0, 10)
seen.listed = (await openmeter.portal.list({ limit: 10 })).some((listed) => listed.id === token.id)

const portal = new Portal({ baseUrl, portalToken: token.token })
const window = { from: new Date('2026-11-01T00:00:00Z'), to: new Date('2026-12-01T00:00:00Z') }
const ask = () => portal.query('sdk_tokens', { ...window, windowSize: 'DAY', groupBy: ['model'] })
let usage = await ask()
for (let tries = 0; tries < 50 && usage.data.length < 2; tries++) {
  await new Promise((resolve) => setTimeout(resolve, 100))
  usage = await ask()
}
seen.rows = usage.data.map((row) => [row.subject, row.groupBy.model, row.value, row.windowStart.toISOString()])
seen.filtered = (await portal.query('sdk_tokens', { ...window, filterGroupBy: { model: 'small' } })).data.map((row) => row.value)
seen.managed = (await openmeter.meters.query('sdk_tokens', { ...window, subject: ['customer-1'] })).data.map((row) => row.value)

// The other requests that the client of a backend can make.
const advanced = { model: { $or: [{ $eq: 'small' }, { $like: 'nothing%' }] } }
seen.advanced = (await openmeter.meters.queryPost('sdk_tokens', { advancedMeterGroupByFilters: advanced })).data.map((row) => row.value)
const page = await openmeter.events.listV2({ limit: 2 })
const last = await openmeter.events.listV2({ limit: 2, cursor: page.nextCursor })
seen.pages = [page, last].map((items) => items.items.map((item) => item.event.id))

// A page of another origin. Node's fetch sends no preflight and hides no answer, so this one does what the standard says.
const origin = 'https://app.example.com'
const SAFELISTED = ['accept', 'accept-language', 'content-language', 'content-type', 'range']
async function pageFetch(request) {
  const asked = [...request.headers.keys()].filter((name) => !SAFELISTED.includes(name))
  const preflight = await fetch(request.url, {
    method: 'OPTIONS',
    headers: { Origin: origin, 'Access-Control-Request-Method': request.method, 'Access-Control-Request-Headers': asked.join(',') },
  })
  const allowed = (preflight.headers.get('access-control-allow-headers') ?? '').toLowerCase().split(/, */)
  if (!preflight.ok || asked.some((name) => !allowed.includes(name))) throw new TypeError('Failed to fetch: preflight')
  const headers = new Headers(request.headers)
  headers.set('Origin', origin)
  const answer = await fetch(new Request(request, { headers }))
  if (!['*', origin].includes(answer.headers.get('access-control-allow-origin'))) throw new TypeError('Failed to fetch: answer')
  return answer
}
const foreign = new Portal({ baseUrl, portalToken: token.token, fetch: pageFetch })
seen.foreign = (await foreign.query('sdk_tokens', window)).data.map((row) => row.value)

async function failure(call) {
  try {
    await call()
  } catch (error) {
    if (error instanceof HTTPError) seen.codes = [...(seen.codes ?? []), error.getField('code')]
    return [error instanceof HTTPError || error.name, error.statusCode ?? error.status, error.message]
  }
  return 'no error'
}
seen.forbidden = await failure(() => portal.query('other', {}))
seen.misspelt = await failure(() => foreign.query('sdk_tokens', { windowSize: 'WEEK' }))
seen.zone = await failure(() => foreign.query('sdk_tokens', { windowTimeZone: 'Mars/Olympus' }))
seen.closed = await failure(() => foreign.query('other', {}))
seen.missing = await failure(() => openmeter.meters.get('nothing_here'))
seen.taken = await failure(() => openmeter.meters.create({ slug: 'sdk_tokens', eventType: 'x', aggregation: 'COUNT' }))
const backend = new OpenMeter({ baseUrl, apiKey, fetch: pageFetch })
seen.backend = await failure(() => backend.meters.list())
await openmeter.portal.invalidate({ id: token.id })
seen.revoked = await failure(ask)
console.log(JSON.stringify(seen))
