'use server'
// On the server: it alone holds the API key, knows who is signed in, and makes tokens for that customer only.
import { OpenMeter } from '@openmeter/sdk'

const baseUrl = process.env.METERPORT_URL ?? 'http://127.0.0.1:8888'

/** Make a token for the signed-in customer; the browser may call it when the one it has expires. */
export async function createToken() {
  const openmeter = new OpenMeter({ baseUrl, apiKey: process.env.METERPORT_API_KEY })
  const { token } = await openmeter.portal.create({
    subject: await signedIn(),
    allowedMeterSlugs: ['tokens'],
    expiresAt: new Date(Date.now() + 60 * 60 * 1000),
  })
  return { baseUrl, token }
}

// Your session, in a real application. Never take the customer from the request itself.
async function signedIn() {
  return 'acme'
}
