'use client'
import { OpenMeter, OpenMeterProvider, useOpenMeter } from '@openmeter/sdk/react'
import { useEffect, useMemo, useState } from 'react'

/** The customer's usage, in the browser, with the token the server made. */
export function Usage({ first, renew }) {
  const [{ baseUrl, token }, setAccess] = useState(first)
  const openmeter = useMemo(() => new OpenMeter({ baseUrl, portalToken: token }), [baseUrl, token])
  return (
    <OpenMeterProvider value={openmeter}>
      <ByModel meter="tokens" onExpired={async () => setAccess(await renew())} />
    </OpenMeterProvider>
  )
}

function ByModel({ meter, onExpired }) {
  const openmeter = useOpenMeter()
  const [rows, setRows] = useState()
  const [problem, setProblem] = useState('')

  useEffect(() => {
    const controller = new AbortController()
    const ask = async () => {
      const from = new Date(Date.now() - 30 * 86_400_000)
      from.setUTCHours(0, 0, 0, 0)
      try {
        const usage = await openmeter.query(meter, { from, groupBy: ['model'] }, { signal: controller.signal })
        setRows(usage.data)
      } catch (error) {
        if (controller.signal.aborted) return
        if (error.status === 401) await onExpired()
        else setProblem(error.message)
      }
    }
    ask()
    const timer = setInterval(ask, 10_000)
    return () => {
      clearInterval(timer)
      controller.abort()
    }
  }, [openmeter, meter]) // eslint-disable-line react-hooks/exhaustive-deps -- onExpired does not change what is asked

  if (problem) return <p role="alert">{problem}</p>
  if (!rows) return <p role="status">Loading…</p>
  return (
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
  )
}
