import { connection } from 'next/server'
import { createToken } from './token'
import { Usage } from './usage'

export default async function Page() {
  await connection() // a token is made when the page is asked for, never when it is built
  return (
    <>
      <h1>Your usage</h1>
      <Usage first={await createToken()} renew={createToken} />
    </>
  )
}
