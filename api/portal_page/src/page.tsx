/**
 * The page at /portal: a token out of the address, and everything it opens.
 *
 * The token comes in the fragment, which browsers never send. It is taken off the address bar at once, so that it is not
 * in the history, a bookmark or a screenshot, and kept for this tab alone, so that a reload works; where the browser
 * refuses even that (a frame without storage) it lives in memory. A token that is no good any more is forgotten.
 */
import { OpenMeterProvider } from '@openmeter/sdk/react'
import { StrictMode, useEffect, useEffectEvent, useMemo, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { PortalClient, type UsageError } from './client'
import './style.css'
import './page.css'
import { readSeconds, readUnits, readView, type Theme, type View, writeView } from './view'
import { UsagePortal } from './views/UsagePortal'

const TOKEN = 'meterport.token'
const THEME = 'meterport.theme'
const KEPT = ['units', 'theme', 'refresh'] // of the address, beside the view
const BASE_URL = new URL('.', location.href).href

/** Return what the address says, and take the token off it. */
function readAddress(): { token: string | null; params: URLSearchParams } {
  const params = new URLSearchParams(location.hash.slice(1))
  const token = params.get('token')
  if (token !== null) {
    params.delete('token')
    writeAddress(params)
  }
  return { token, params }
}

function writeAddress(params: URLSearchParams): void {
  const text = params.toString()
  history.replaceState(null, '', location.pathname + location.search + (text && `#${text}`))
}

function addressOf(view: View, params: URLSearchParams): URLSearchParams {
  const written = writeView(view)
  for (const name of KEPT) {
    const value = params.get(name)
    if (value !== null) written.set(name, value)
  }
  return written
}

/** What this browser keeps; a browser that keeps nothing is no error. */
function kept(storage: () => Storage, name: string, value?: string | null): string | null {
  try {
    if (value === null) storage().removeItem(name)
    else if (value !== undefined) storage().setItem(name, value)
    return storage().getItem(name)
  } catch {
    return value ?? null
  }
}

const session = (): Storage => sessionStorage
const local = (): Storage => localStorage

function Page() {
  const [address, setAddress] = useState(() => {
    const { token, params } = readAddress()
    return { token: kept(session, TOKEN, token ?? undefined) ?? token, params, view: readView(params) }
  })
  const [theme, setTheme] = useState<Theme>(() => themeOf(address.params.get('theme') ?? kept(local, THEME)))
  const { token, params, view } = address

  const changed = useEffectEvent(() => {
    const next = readAddress()
    if (next.token !== null) kept(session, TOKEN, next.token)
    if (next.token !== null && next.params.size === 0) {
      writeAddress(addressOf(view, params)) // another token alone changes nothing of what is looked at
      setAddress((before) => ({ ...before, token: next.token }))
      return
    }
    if (next.params.has('theme')) setTheme(themeOf(next.params.get('theme')))
    setAddress((before) => ({ token: next.token ?? before.token, params: next.params, view: readView(next.params) }))
  })
  useEffect(() => {
    window.addEventListener('hashchange', changed)
    return () => window.removeEventListener('hashchange', changed)
  }, [])

  useEffect(() => {
    document.documentElement.dataset.theme = theme
  }, [theme])

  const client = useMemo(() => (token ? new PortalClient({ baseUrl: BASE_URL, portalToken: token }) : null), [token])
  const units = useMemo(() => readUnits(params.get('units')), [params])
  const keepView = (next: View): void => {
    writeAddress(addressOf(next, params))
    setAddress((before) => ({ ...before, view: next }))
  }
  const forget = (error: UsageError): void => {
    kept(session, TOKEN, null)
    if (window.parent !== window) window.parent.postMessage({ type: 'meterport-expired', reason: error.kind }, '*')
  }
  const chooseTheme = (next: Theme): void => {
    kept(local, THEME, next)
    const others = new URLSearchParams(params)
    others.delete('theme') // a reload shows what was chosen
    writeAddress(addressOf(view, others))
    setAddress((before) => ({ ...before, params: others }))
    setTheme(next)
  }
  return (
    <OpenMeterProvider value={client}>
      <UsagePortal
        heading="Usage"
        linked
        view={view}
        onViewChange={keepView}
        theme={theme}
        onThemeChange={chooseTheme}
        units={units}
        refreshSeconds={readSeconds(params.get('refresh'))}
        onTokenFailure={forget}
      />
    </OpenMeterProvider>
  )
}

function themeOf(text: string | null): Theme {
  return text === 'light' || text === 'dark' ? text : 'auto'
}

const root = document.getElementById('portal')
if (root) {
  createRoot(root).render(
    <StrictMode>
      <Page />
    </StrictMode>,
  )
}
