import { Component, type ReactNode } from 'react'
import { Notice } from './Notice'

/** Shows a notice instead of an empty page if a view throws an error. */
export class Boundary extends Component<{ children: ReactNode }, { failed: boolean }> {
  override state = { failed: false }

  static getDerivedStateFromError(): { failed: boolean } {
    return { failed: true }
  }

  override render(): ReactNode {
    if (!this.state.failed) return this.props.children
    return (
      <Notice title="Usage cannot be shown" mark="!">
        Something went wrong on this page. If this continues, tell the people who gave you access to it.
      </Notice>
    )
  }
}
