/**
 * `<meterport-usage>`: an element that shows usage on any site, loaded with one script.
 *
 * Owns: its attributes, the properties that reflect them, and the events that it sends. Its styles are in its shadow
 * root: the site's styles do not apply there, only the custom properties that src/style.css names.
 * Source: docs/portal.md "On your own site".
 */
import { OpenMeterProvider } from '@openmeter/sdk/react'
import { createRoot, type Root } from 'react-dom/client'
import { type Attribute, ATTRIBUTES, propertyOf, readList, readPairs, type Value, writeValue } from './attributes'
import { PortalClient, type UsageError } from './client'
import style from './style.css?inline'
import { readSeconds, readView, type Theme, type View } from './viewState'
import type { Part } from './views/MeterUsage'
import { UsagePortal } from './views/UsagePortal'

// In a module document.currentScript is null.
const OWN_SCRIPT = document.currentScript ?? document.querySelector('script[src$="/meterport-usage.js"]')
const DEFAULT_BASE_URL = OWN_SCRIPT instanceof HTMLScriptElement ? new URL('..', OWN_SCRIPT.src).href : location.origin
const MAX_PAUSE_MS = 60_000

export class MeterportUsage extends HTMLElement {
  static readonly observedAttributes = Object.keys(ATTRIBUTES)

  declare meter: string | null
  declare period: string | null
  declare window: string | null
  declare timeZone: string | null
  declare theme: string | null
  declare locale: string | null
  declare heading: string | null
  declare refresh: string | number | null
  declare meters: readonly string[] | null
  declare groupBy: readonly string[] | null
  declare show: readonly string[] | null
  declare filters: Readonly<Record<string, string>> | readonly string[] | null
  declare units: Readonly<Record<string, string>> | null

  #root: Root | undefined
  #token: string | null = null
  #client: PortalClient | null = null
  #clientKey = ''
  #isRenderQueued = false
  #failedTokens = 0
  #expiredTimer: ReturnType<typeof setTimeout> | undefined

  connectedCallback(): void {
    if (!this.shadowRoot) {
      const sheet = new CSSStyleSheet()
      sheet.replaceSync(`:host{display:block}${style}`)
      this.attachShadow({ mode: 'open' }).adoptedStyleSheets = [sheet]
    }
    for (const attribute of MeterportUsage.observedAttributes) this.#upgrade(propertyOf(attribute))
    this.#root ??= createRoot(this.shadowRoot as unknown as Element)
    this.#render()
  }

  disconnectedCallback(): void {
    // If the element is connected again by then, it was moved and not removed.
    queueMicrotask(() => {
      if (this.isConnected) return
      clearTimeout(this.#expiredTimer)
      this.#root?.unmount()
      this.#root = undefined
    })
  }

  attributeChangedCallback(): void {
    this.#render()
  }

  /** The portal token. If it is set as a property, it does not appear in the document. */
  get token(): string | null {
    return this.#token ?? this.getAttribute('token')
  }

  set token(value: string | null | undefined) {
    this.#token = value ?? null
    if (!value) this.removeAttribute('token')
    this.#render()
  }

  /** The address of Meterport. By default the one that the script was loaded from. */
  get baseUrl(): string {
    return this.getAttribute('base-url') ?? DEFAULT_BASE_URL
  }

  set baseUrl(value: string) {
    this.setAttribute('base-url', value)
  }

  /** Set again a property that was set before the script was loaded: until then it hides the accessor. */
  #upgrade(name: string): void {
    if (!Object.hasOwn(this, name)) return
    const early: unknown = Reflect.get(this, name)
    Reflect.deleteProperty(this, name)
    Reflect.set(this, name, early)
  }

  /** Render once, after all changes of this task. */
  #render(): void {
    if (this.#isRenderQueued) return
    this.#isRenderQueued = true
    queueMicrotask(() => {
      this.#isRenderQueued = false
      this.#root?.render(this.#content())
    })
  }

  #content() {
    return (
      <OpenMeterProvider value={this.#currentClient()}>
        <UsagePortal
          view={this.#view()}
          onViewChange={(view) => this.#emit('meterport-view', view)}
          meters={readList(this.getAttribute('meters'))}
          parts={this.hasAttribute('show') ? (readList(this.getAttribute('show')) as Part[]) : undefined}
          theme={(this.getAttribute('theme') ?? 'auto') as Theme}
          locale={this.#text('locale')}
          units={readPairs(this.getAttribute('units'), /,/)}
          refreshSeconds={readSeconds(this.getAttribute('refresh'))}
          heading={this.#text('heading')}
          onTokenFailure={(error) => this.#requestToken(error)}
        />
      </OpenMeterProvider>
    )
  }

  #currentClient(): PortalClient | null {
    const token = this.token
    const key = `${this.baseUrl} ${token ?? ''}`
    if (key !== this.#clientKey) {
      clearTimeout(this.#expiredTimer)
      this.#clientKey = key
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
    const [groupBy, filters] = [readList(this.getAttribute('group-by')), readPairs(this.getAttribute('filters'))]
    return { ...readView(params), groupBy, filters }
  }

  #text(name: Attribute): string | undefined {
    return this.getAttribute(name) ?? undefined
  }

  /**
   * Ask the site for another token: at once if this one has worked, after growing pauses if one token after another
   * fails.
   */
  #requestToken(error: UsageError): void {
    this.#failedTokens = this.#client?.answered ? 0 : this.#failedTokens + 1
    const pause = this.#failedTokens < 2 ? 0 : Math.min(1000 * 2 ** (this.#failedTokens - 2), MAX_PAUSE_MS)
    const emit = (): void => this.#emit('meterport-expired', { reason: error.kind, message: error.message })
    if (pause === 0) emit()
    else this.#expiredTimer = setTimeout(emit, pause)
  }

  #emit(type: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }))
  }
}

for (const [attribute, kind] of Object.entries(ATTRIBUTES)) {
  if (attribute === 'token' || attribute === 'base-url') continue // the class defines these itself
  Object.defineProperty(MeterportUsage.prototype, propertyOf(attribute), {
    get(this: MeterportUsage): Value {
      const text = this.getAttribute(attribute)
      if (kind === 'text' || text === null) return text
      return kind === 'list' ? readList(text) : readPairs(text, kind === 'units' ? /,/ : undefined)
    },
    set(this: MeterportUsage, value: Value) {
      const text = writeValue(value)
      if (text === null) this.removeAttribute(attribute)
      else this.setAttribute(attribute, text)
    },
    configurable: true,
    enumerable: true,
  })
}

if (!customElements.get('meterport-usage')) customElements.define('meterport-usage', MeterportUsage)
