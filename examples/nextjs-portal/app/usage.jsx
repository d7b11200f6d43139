'use client'
import { OpenMeter, OpenMeterProvider, useOpenMeter } from '@openmeter/sdk/react'
import { useCallback, useEffect, useMemo, useState } from 'react'

/** Show the customer's usage in the browser, with the token that the server created. */
export function Usage({ first, renew }) {
  const [{ baseUrl, token }, setAccess] = useState(first)
  const openmeter = useMemo(() => new OpenMeter({ baseUrl, portalToken: token }), [baseUrl, token])
  const onExpired = useCallback(async () => setAccess(await renew()), [renew])
  return (
    <OpenMeterProvider value={openmeter}>
      <ByModel meter="tokens" onExpired={onExpired} />
    </OpenMeterProvider>
  )
}

function ByModel({ meter, onExpired }) {
  const openmeter = useOpenMeter()
  const [rows, setRows] = useState()
  const [problem, setProblem] = useState('')

  useEffect(() => {
    const controller = new AbortController()
    let opened = false // a token that never worked is not renewed: a new one would not work either
    const ask = async () => {
      const from = new Date(Date.now() - 30 * 86_400_000)
      from.setUTCHours(0, 0, 0, 0)
      try {
        const usage = await openmeter.query(meter, { from, groupBy: ['model'] }, { signal: controller.signal })
        opened = true
        setRows(usage.data)
        setProblem('')
      } catch (error) {
        if (controller.signal.aborted) return
        setProblem(error.message)
        if (opened && hasExpired(error)) {
          opened = false // at most once per token
          onExpired().catch(() => setProblem('Usage cannot be opened right now.'))
        }
      }
    }
    ask()
    const timer = setInterval(ask, 10_000)
    return () => {
      clearInterval(timer)
      controller.abort()
    }
  }, [openmeter, meter, onExpired])

  if (!rows) return problem ? <p role="alert">{problem}</p> : <p role="status">Loading…</p>
  return (
    <>
      {problem && <p role="alert">{problem}</p>}
      <table>
        <thead>
          <tr>
            <th scope="col">Model</th>
            <th scope="col">Tokens, last 30 days</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.groupBy.model}>
              <th scope="row">{row.groupBy.model}</th>
              <td>{row.value.toLocaleString('en', { maximumFractionDigits: 3 })}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  )
}

/** Another token does not help against other refusals, for example of a meter that the token does not allow. */
function hasExpired(error) {
  return error.status === 401 && error.getField('detail') === 'invalid token: expired'
}
