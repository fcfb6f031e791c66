// Plots over time. The library behind them is loaded when one is first shown.

import { lazy } from '../core/lazy';
import type { TimePlotProps } from './plot/TimePlot';

export const Plot = lazy<TimePlotProps>(async () => (await import('./plot/TimePlot')).TimePlot);
