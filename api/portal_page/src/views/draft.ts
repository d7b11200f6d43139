import { useState } from 'react'

/** Keep a draft of a value until it is applied. When the value itself changes, it replaces the draft. */
export function useDraft<T>(value: T): [T, (draft: T) => void] {
  const [draft, setDraft] = useState(value)
  const [previous, setPrevious] = useState(value)
  if (JSON.stringify(previous) !== JSON.stringify(value)) {
    setPrevious(value)
    setDraft(value)
  }
  return [draft, setDraft]
}
