import { Component, type ReactNode } from 'react'
import { Notice } from './Notice'

/** Says so where the views fail, instead of leaving an empty place. */
export class Boundary extends Component<{ children: ReactNode }, { failed: boolean }> {
  override state = { failed: false }

  static getDerivedStateFromError(): { failed: boolean } {
    return { failed: true }
  }

  override render(): ReactNode {
    if (!this.state.failed) return this.props.children
    return (
      <Notice title="Usage cannot be shown" mark="!">
        Something went wrong on this page. If it stays so, tell the people who gave you access to it.
      </Notice>
    )
  }
}
