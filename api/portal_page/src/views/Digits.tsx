/**
 * A number, alone in an element that no translator touches.
 *
 * A browser's translator puts elements of its own in place of texts. Where a text has an element for itself, React
 * rewrites all that the element holds; where it stands beside others, React would write to what is no longer shown.
 */
export function Digits({ text, hidden }: { text: string; hidden?: boolean }) {
  return (
    <span translate="no" aria-hidden={hidden}>
      {text}
    </span>
  )
}
