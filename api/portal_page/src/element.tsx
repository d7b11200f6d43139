/**
 * `<meterport-usage>`: usage on any site, from one script.
 *
 * Owns: its attributes and properties, and the events that leave it. Its styles live in its shadow: the site's do not
 * reach in, the custom properties of src/style.css do.
 * Source: docs/portal.md "On your own site".
 */
import { OpenMeterProvider } from '@openmeter/sdk/react'
import { createRoot, type Root } from 'react-dom/client'
import { PortalClient, type UsageError } from './client'
import style from './style.css?inline'
import { readUnits, readView, type Theme, type View } from './view'
import type { Part } from './views/MeterUsage'
import { UsagePortal } from './views/UsagePortal'

const OWN_SCRIPT = document.currentScript instanceof HTMLScriptElement ? document.currentScript.src : ''
const ATTRIBUTES = [
  'token', 'base-url', 'meters', 'meter', 'period', 'window', 'time-zone', 'group-by', 'filters', 'units', 'show', 'theme',
  'locale', 'refresh', 'heading',
] as const

type Attribute = (typeof ATTRIBUTES)[number]

export class MeterportUsage extends HTMLElement {
  static readonly observedAttributes = ATTRIBUTES

  #root: Root | undefined
  #token: string | null = null
  #client: PortalClient | null = null
  #clientOf = ''
  #waiting = false

  connectedCallback(): void {
    if (!this.shadowRoot) {
      const sheet = new CSSStyleSheet()
      sheet.replaceSync(`:host{display:block}${style}`)
      this.attachShadow({ mode: 'open' }).adoptedStyleSheets = [sheet]
    }
    // A property set before the script was there hides the accessor.
    if (Object.hasOwn(this, 'token')) {
      const early = (this as { token: string | null }).token
      delete (this as { token?: string | null }).token
      this.token = early
    }
    this.#root ??= createRoot(this.shadowRoot as unknown as Element)
    this.#render()
  }

  disconnectedCallback(): void {
    // Moved, not removed, if it is connected again by then.
    queueMicrotask(() => {
      if (this.isConnected) return
      this.#root?.unmount()
      this.#root = undefined
    })
  }

  attributeChangedCallback(): void {
    this.#render()
  }

  /** The portal token. As a property it stays out of the document. */
  get token(): string | null {
    return this.#token ?? this.getAttribute('token')
  }

  set token(value: string | null) {
    this.#token = value
    if (value === null) this.removeAttribute('token')
    this.#render()
  }

  /** Where Meterport is; where the script came from unless given. */
  get baseUrl(): string {
    return this.getAttribute('base-url') ?? (OWN_SCRIPT ? new URL('..', OWN_SCRIPT).href : location.origin)
  }

  set baseUrl(value: string) {
    this.setAttribute('base-url', value)
  }

  /** One render for all changes of a turn. */
  #render(): void {
    if (this.#waiting) return
    this.#waiting = true
    queueMicrotask(() => {
      this.#waiting = false
      this.#root?.render(this.#content())
    })
  }

  #content() {
    const refresh = this.getAttribute('refresh')
    return (
      <OpenMeterProvider value={this.#currentClient()}>
        <UsagePortal
          view={this.#view()}
          onViewChange={(view) => this.#tell('meterport-view', view)}
          meters={this.#list('meters')}
          parts={this.hasAttribute('show') ? (this.#list('show') as Part[]) : undefined}
          theme={(this.getAttribute('theme') ?? 'auto') as Theme}
          locale={this.#text('locale')}
          units={readUnits(this.getAttribute('units'))}
          refreshSeconds={refresh === null ? undefined : Math.max(Number(refresh) || 0, 0)}
          heading={this.#text('heading')}
          onTokenFailure={(error) => this.#failed(error)}
        />
      </OpenMeterProvider>
    )
  }

  #currentClient(): PortalClient | null {
    const token = this.token
    const wanted = `${this.baseUrl} ${token ?? ''}`
    if (wanted !== this.#clientOf) {
      this.#clientOf = wanted
      this.#client = token ? new PortalClient({ baseUrl: this.baseUrl, portalToken: token }) : null
    }
    return this.#client
  }

  #view(): View {
    const params = new URLSearchParams()
    const names = [['meter', 'meter'], ['period', 'period'], ['window', 'window'], ['time-zone', 'zone']] as const
    for (const [attribute, name] of names) {
      const value = this.getAttribute(attribute)
      if (value) params.set(name, value)
    }
    for (const key of this.#list('group-by')) params.append('group', key)
    for (const filter of this.#list('filters')) params.append('filter', filter)
    return readView(params)
  }

  #text(name: Attribute): string | undefined {
    return this.getAttribute(name) ?? undefined
  }

  #list(name: Attribute): string[] {
    return (this.getAttribute(name) ?? '').split(/[\s,]+/).filter(Boolean)
  }

  #failed(error: UsageError): void {
    this.#tell('meterport-expired', { reason: error.kind, message: error.message })
  }

  #tell(type: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }))
  }
}

if (!customElements.get('meterport-usage')) customElements.define('meterport-usage', MeterportUsage)
