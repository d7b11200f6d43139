// Sends events with the unmodified CloudEvents SDK for JavaScript: node cloudevents.mjs BASE_URL [BROKERS TOPIC].
// The subject names the case, and `tokens` is its number in the test's table. Prints the status of each request as JSON,
// except where the SDK's own transport hides it.
import { CloudEvent, HTTP, Kafka, Mode, emitterFor, httpTransport } from 'cloudevents'
import { Kafka as Client, logLevel } from 'kafkajs'

const [baseUrl, brokers, topic] = process.argv.slice(2)
const url = `${baseUrl}/api/v1/events`
const statuses = {}
const event = (subject, tokens, more = {}) =>
  new CloudEvent({ type: 'javascript-prompt', source: '/javascript', subject, data: { tokens }, ...more })
const bytes = (tokens) => new TextEncoder().encode(JSON.stringify({ tokens }))
const json = { datacontenttype: 'application/json' }

const emit = emitterFor(httpTransport(url))
await emit(event('emitted', 1))
await emit(event('emitted with extensions', 2, { ...json, trace: 't-1', sampled: true, number: 7 }))
await emitterFor(httpTransport(url), { mode: Mode.STRUCTURED })(event('emitted structured', 3))

const post = async (name, { headers, body }) => {
  statuses[name] = (await fetch(url, { method: 'POST', headers, body })).status
}
await post('binary', HTTP.binary(event('binary', 4)))
await post('structured', HTTP.structured(event('structured', 5)))
await post('structured bytes', HTTP.structured(event('structured bytes', 0, { ...json, data: bytes(6) })))
const batch = JSON.stringify([event('batch 1', 7), event('batch 2', 8, { data: Buffer.from(bytes(8)) })])
await post('batch', { headers: { 'content-type': 'application/cloudevents-batch+json' }, body: batch })

if (brokers) {
  const producer = new Client({ brokers: brokers.split(','), logLevel: logLevel.ERROR }).producer()
  await producer.connect()
  // kafkajs accepts only texts and bytes: a value is therefore written as JSON, and headers without a value are left out.
  const record = ({ headers, key, value }) => ({
    key,
    value: typeof value === 'string' || value instanceof Uint8Array ? Buffer.from(value) : JSON.stringify(value),
    headers: Object.fromEntries(
      Object.entries(headers).filter(([, text]) => text !== undefined).map(([name, text]) => [name, String(text)]),
    ),
  })
  const messages = [
    Kafka.structured(event('kafka structured', 21)),
    Kafka.structured(event('kafka structured bytes', 0, { ...json, data: bytes(22) })),
    Kafka.binary(event('kafka binary', 23)),
    Kafka.binary(event('kafka binary typed', 24, json)),
    Kafka.binary(event('kafka Zoë/€ %20', 25, { partitionkey: 'p', trace: 't-1', sampled: true })),
    Kafka.binary(event('kafka binary bytes', 0, { ...json, data: bytes(26) })),
  ].map(record)
  await producer.send({ topic, messages })
  await producer.disconnect()
}
console.log(JSON.stringify(statuses))
