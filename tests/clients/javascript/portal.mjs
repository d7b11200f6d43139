// The walk of a frontend's first day with OpenMeter's SDK, unmodified: meter, events, token, usage, errors.
// Usage: node portal.mjs BASE_URL API_KEY. Prints what it saw as one JSON object; the test asserts on it.
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

async function failure(call) {
  try {
    await call()
  } catch (error) {
    return [error instanceof HTTPError || error.name, error.statusCode ?? error.status, error.message]
  }
  return 'no error'
}
seen.forbidden = await failure(() => portal.query('other', {}))
await openmeter.portal.invalidate({ id: token.id })
seen.revoked = await failure(ask)
console.log(JSON.stringify(seen))
