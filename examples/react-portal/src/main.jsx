import { OpenMeter, OpenMeterProvider } from '@openmeter/sdk/react'
import { StrictMode, useCallback, useEffect, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { DailyUsage } from './daily-usage.jsx'
import './style.css'

function App() {
  const [openmeter, setOpenmeter] = useState(null)
  const [problem, setProblem] = useState('')

  const renew = useCallback(async () => {
    try {
      const response = await fetch('/usage-token', { method: 'POST' })
      const answer = await response.json()
      if (!response.ok) return setProblem(answer.detail)
      setProblem('')
      setOpenmeter(new OpenMeter({ baseUrl: answer.baseUrl, portalToken: answer.token }))
    } catch (error) {
      setProblem(error.message)
    }
  }, [])

  useEffect(() => void renew(), [renew])

  return (
    <OpenMeterProvider value={openmeter}>
      <main>
        <h1>Your usage</h1>
        {problem ? <p role="alert">{problem}</p> : <DailyUsage meter="tokens" onExpired={renew} />}
      </main>
    </OpenMeterProvider>
  )
}

createRoot(document.getElementById('root')).render(
  <StrictMode>
    <App />
  </StrictMode>,
)
