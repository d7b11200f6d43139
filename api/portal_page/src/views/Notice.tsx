import type { ReactNode } from 'react'
import type { UsageError } from '../client'

interface NoticeProps {
  title: string
  children?: ReactNode
  mark?: string
  action?: ReactNode
}

/** What stands where usage would. */
export function Notice({ title, children, mark, action }: NoticeProps) {
  return (
    <div className="mp-notice" role="status">
      {mark && (
        <span className="mp-mark" aria-hidden="true">
          {mark}
        </span>
      )}
      <h2>{title}</h2>
      {children && <p>{children}</p>}
      {action}
    </div>
  )
}

/** Why a token shows nothing, and what to do. */
export function TokenNotice({ error }: { error?: UsageError }) {
  const again = 'Go back to your account and open your usage from there again.'
  switch (error?.kind) {
    case undefined:
      return (
        <Notice title="No usage link" mark="?">
          This page shows usage to whoever opens it with a link from their account. {again}
        </Notice>
      )
    case 'expired':
      return (
        <Notice title="This link has expired" mark="⧖">
          Links to usage are good for a limited time. {again}
        </Notice>
      )
    case 'revoked':
      return (
        <Notice title="This link was withdrawn" mark="⊘">
          It does not open usage any more. {again}
        </Notice>
      )
    default:
      return (
        <Notice title="This link is not complete" mark="!">
          It may have been cut off when it was copied. {again}
        </Notice>
      )
  }
}

/** Why the last refresh failed, above what is still shown. */
export function Banner({ error, since, retry }: { error: UsageError; since?: string; retry: () => void }) {
  return (
    <div className="mp-banner" role="alert">
      <span>
        {reason(error)}
        {since && ` Shown is the usage of ${since}.`}
      </span>
      <button type="button" className="mp-button" onClick={retry}>
        Try again
      </button>
    </div>
  )
}

function reason(error: UsageError): string {
  switch (error.kind) {
    case 'offline':
      return navigator.onLine ? 'Usage cannot be reached right now.' : 'You are offline.'
    case 'unavailable':
      return 'Usage is not available for the moment.'
    case 'forbidden':
      return 'This link does not open this meter.'
    default:
      return `Usage was refused: ${error.message}`
  }
}
