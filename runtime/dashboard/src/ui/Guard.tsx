// A page that breaks says so, and leaves the rest of the frame usable.

import type { ComponentChildren } from 'preact';
import { useErrorBoundary } from 'preact/hooks';
import { Failure } from './states';

export function Guard({ children }: { children: ComponentChildren }) {
  const [error, reset] = useErrorBoundary((caught: unknown) => console.error(caught));
  if (!error) return <>{children}</>;
  const text = error instanceof Error ? error.message : String(error);
  return <Failure text={`This page could not be drawn: ${text}. It is a fault of the page, not of your runs.`} retry={reset} />;
}
