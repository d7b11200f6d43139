'use server'
// This runs on the server: only it has the API key. It knows who is signed in, and creates tokens only for that customer.
import { OpenMeter } from '@openmeter/sdk'

const baseUrl = process.env.METERPORT_URL ?? 'http://127.0.0.1:8888'

/** Create a token for the signed-in customer. The browser may call this when its token expires. */
export async function createToken() {
  const openmeter = new OpenMeter({ baseUrl, apiKey: process.env.METERPORT_API_KEY })
  const { token } = await openmeter.portal.create({
    subject: await signedIn(),
    allowedMeterSlugs: ['tokens'],
    expiresAt: new Date(Date.now() + 60 * 60 * 1000),
  })
  return { baseUrl, token }
}

// A real application takes the customer from its session. Never take it from the request itself.
async function signedIn() {
  return 'acme'
}
