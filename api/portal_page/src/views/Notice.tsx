import { type ReactNode, useEffect, useEffectEvent, useRef } from 'react'
import type { UsageError } from '../client'

interface NoticeProps {
  title: string
  children?: ReactNode
  mark?: string
  keepFocus?: (element: HTMLElement | null) => void
}

/** A message in place of usage. It takes the focus if the element that it replaces had it. */
export function Notice({ title, children, mark, keepFocus }: NoticeProps) {
  const root = useRef<HTMLDivElement>(null)
  const takeFocus = useEffectEvent(() => keepFocus?.(root.current))
  useEffect(() => {
    takeFocus()
  }, [])
  return (
    <div ref={root} className="mp-notice" role="status" tabIndex={-1}>
      {mark && (
        <span className="mp-mark" aria-hidden="true">
          {mark}
        </span>
      )}
      <h2>{title}</h2>
      {children && <p>{children}</p>}
    </div>
  )
}

interface TokenNoticeProps extends Pick<NoticeProps, 'keepFocus'> {
  error?: UsageError
  /** Whether a link contains the token. Otherwise the application that embeds these views has it. */
  linked: boolean
}

/** Says why a token shows no usage, and what the reader can do. */
export function TokenNotice({ error, linked, keepFocus }: TokenNoticeProps) {
  const [title, mark, text] = linked ? aboutLink(error) : aboutSession(error)
  return (
    <Notice title={title} mark={mark} keepFocus={keepFocus}>
      {text}
    </Notice>
  )
}

function aboutLink(error?: UsageError): [title: string, mark: string, text: string] {
  const again = 'Go back to your account and open your usage from there again.'
  switch (error?.kind) {
    case undefined:
      return ['No usage link', '?', `This page shows your usage when you open it with a link from your account. ${again}`]
    case 'expired':
      return ['This link has expired', '⧖', `Links to usage are valid for a limited time. ${again}`]
    case 'revoked':
      return ['This link was withdrawn', '⊘', `It no longer opens your usage. ${again}`]
    default:
      return ['This link is not complete', '!', `It may have been cut off when it was copied. ${again}`]
  }
}

function aboutSession(error?: UsageError): [title: string, mark: string, text: string] {
  if (error?.kind === 'expired' || error?.kind === 'revoked') {
    return ['The session for usage has ended', '⧖', 'Reload this page, or sign in again, to see your usage.']
  }
  return ['Usage cannot be opened', '!', 'This page has no valid token for it. Sign in again, or tell the people who run this site.']
}

/** Says why the last refresh failed, above the usage that is still shown. */
export function Banner({ error, since, retry }: { error: UsageError; since?: string; retry: () => void }) {
  return (
    <div className="mp-banner" role="alert">
      <div>
        <p>{`${reason(error)}${since ? ` What you see is from ${since}.` : ''}`}</p>
        {error.kind === 'refused' && <Details text={error.message} />}
      </div>
      <button type="button" className="mp-button" onClick={retry}>
        Try again
      </button>
    </div>
  )
}

/** The API's own error message, for the support team. */
function Details({ text }: { text: string }) {
  return (
    <details>
      <summary>For support</summary>
      <code translate="no">{text}</code>
    </details>
  )
}

/** Return what a failure means to a reader. */
export function reason(error: UsageError): string {
  switch (error.kind) {
    case 'offline':
      return navigator.onLine ? 'Usage cannot be reached right now.' : 'You are offline.'
    case 'unavailable':
      return 'Usage is not available right now.'
    case 'blocked':
      return 'Usage cannot be read from this site right now. If this continues, tell the people who run the site.'
    case 'forbidden':
      return 'This link does not open this meter.'
    case 'missing':
      return 'This meter no longer exists.'
    case 'zone':
      return 'This time zone is not known here.'
    case 'large':
      return 'That is too much at once. Choose a shorter period, larger windows, fewer groups, or a filter.'
    default:
      return 'Usage cannot be shown like this. Choose another period, window size, group or filter.'
  }
}
