/**
 * The page at /portal: it reads a token from the address and shows the usage that the token opens.
 *
 * The token is in the fragment, which browsers never send. The page removes it from the address bar at once, so that it
 * does not appear in the history, in a bookmark or in a screenshot. It is stored in the session storage of this tab, so
 * that a reload works, or in memory if the browser has no storage (in some frames). A token that is no longer accepted
 * is removed.
 */
import { OpenMeterProvider } from '@openmeter/sdk/react'
import { StrictMode, useEffect, useEffectEvent, useMemo, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { PortalClient, type UsageError } from './client'
import './style.css'
import './page.css'
import { readSeconds, readUnits, readView, type Theme, type View, writeView } from './viewState'
import { UsagePortal } from './views/UsagePortal'

const TOKEN = 'meterport.token'
const THEME = 'meterport.theme'
const KEPT_PARAMETERS = ['units', 'theme', 'refresh'] // those of the address, beside the view
const BASE_URL = new URL('.', location.href).href

/** Return the token and the parameters of the address, and remove the token from the address. */
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
  for (const name of KEPT_PARAMETERS) {
    const value = params.get(name)
    if (value !== null) written.set(name, value)
  }
  return written
}

/**
 * Return a stored value, after storing `value` (null: after removing it). A browser without storage is not an error.
 */
function stored(storage: () => Storage, name: string, value?: string | null): string | null {
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
    return { token: stored(session, TOKEN, token ?? undefined) ?? token, params, view: readView(params) }
  })
  const [theme, setTheme] = useState<Theme>(() => themeOf(address.params.get('theme') ?? stored(local, THEME)))
  const { token, params, view } = address

  const onHashChange = useEffectEvent(() => {
    const next = readAddress()
    if (next.token !== null) stored(session, TOKEN, next.token)
    if (next.token !== null && next.params.size === 0) {
      writeAddress(addressOf(view, params)) // a new token alone does not change the view
      setAddress((before) => ({ ...before, token: next.token }))
      return
    }
    if (next.params.has('theme')) setTheme(themeOf(next.params.get('theme')))
    setAddress((before) => ({ token: next.token ?? before.token, params: next.params, view: readView(next.params) }))
  })
  useEffect(() => {
    window.addEventListener('hashchange', onHashChange)
    return () => window.removeEventListener('hashchange', onHashChange)
  }, [])

  useEffect(() => {
    document.documentElement.dataset.theme = theme
  }, [theme])

  const client = useMemo(() => (token ? new PortalClient({ baseUrl: BASE_URL, portalToken: token }) : null), [token])
  const units = useMemo(() => readUnits(params.get('units')), [params])
  const changeView = (next: View): void => {
    writeAddress(addressOf(next, params))
    setAddress((before) => ({ ...before, view: next }))
  }
  const forgetToken = (error: UsageError): void => {
    stored(session, TOKEN, null)
    if (window.parent !== window) window.parent.postMessage({ type: 'meterport-expired', reason: error.kind }, '*')
  }
  const chooseTheme = (next: Theme): void => {
    stored(local, THEME, next)
    const others = new URLSearchParams(params)
    others.delete('theme') // otherwise a reload would show the theme of the address, not the chosen one
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
        onViewChange={changeView}
        theme={theme}
        onThemeChange={chooseTheme}
        units={units}
        refreshSeconds={readSeconds(params.get('refresh'))}
        onTokenFailure={forgetToken}
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
