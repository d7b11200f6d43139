// The backend: only it has the API key. It knows who is signed in, and creates tokens only for that customer.
import { OpenMeter } from '@openmeter/sdk'

const baseUrl = process.env.METERPORT_URL ?? 'http://127.0.0.1:8888'
const openmeter = new OpenMeter({ baseUrl, apiKey: process.env.METERPORT_API_KEY })

export async function usageToken(request, response) {
  response.setHeader('Content-Type', 'application/json')
  response.setHeader('Cache-Control', 'no-store')
  try {
    if (request.method !== 'POST') throw Object.assign(new Error('POST only'), { status: 405 })
    const { token, expiresAt } = await openmeter.portal.create({
      subject: signedIn(request),
      allowedMeterSlugs: ['tokens'],
      expiresAt: new Date(Date.now() + 60 * 60 * 1000),
    })
    response.end(JSON.stringify({ token, expiresAt, baseUrl }))
  } catch (error) {
    response.statusCode = error.status ?? 502
    response.end(JSON.stringify({ detail: error.message }))
  }
}

// A real application takes the customer from its session. Never take it from the request itself.
function signedIn() {
  return 'acme'
}
