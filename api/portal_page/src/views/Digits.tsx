/**
 * A number, alone in an element that browsers do not translate.
 *
 * A browser's translator replaces texts with its own elements. If a text is alone in its element, React rewrites the
 * whole content of the element. If it is beside other texts, React would write to a text that is no longer in the page.
 */
export function Digits({ text, hidden }: { text: string; hidden?: boolean }) {
  return (
    <span translate="no" aria-hidden={hidden}>
      {text}
    </span>
  )
}
