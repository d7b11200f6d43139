import { connection } from 'next/server'
import { createToken } from './token'
import { Usage } from './usage'

export default async function Page() {
  await connection() // create the token when the page is requested, and never when it is built
  return (
    <>
      <h1>Your usage</h1>
      <Usage first={await createToken()} renew={createToken} />
    </>
  )
}
