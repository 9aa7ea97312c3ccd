/* The frontier of points.h, and the points below a cut-off. */
#include <stdlib.h>

#include "law/points.h"

static int by_x_y_row(const void *a, const void *b)
{
    const vt_point *p = a, *q = b;
    if (p->x != q->x)
        return p->x < q->x ? -1 : 1;
    if (p->y != q->y)
        return p->y < q->y ? -1 : 1;
    return (p->row > q->row) - (p->row < q->row);
}

void vt_points_sort(vt_point *p, size_t n)
{
    if (n > 0)
        qsort(p, n, sizeof *p, by_x_y_row);
}

size_t vt_frontier_mark(vt_point *p, size_t n)
{
    size_t members = 0;
    double best = 0;
    for (size_t i = 0, next; i < n; i = next) {
        size_t least = i; /* of the points that cost the same */
        for (next = i; next < n && p[next].x <= p[i].x * (1 + VT_SNAP); next++) {
            p[next].frontier = false;
            if (p[next].y < p[least].y)
                least = next;
        }
        if (members == 0 || p[least].y < best) {
            p[least].frontier = true;
            best = p[least].y;
            members++;
        }
    }
    return members;
}

size_t vt_points_take(const vt_point *p, size_t n, double x_max, bool frontier, double *x, double *y)
{
    /* A frontier looks only to cheaper points, so that of the points below a cut-off is a part of the whole one. */
    size_t taken = 0;
    for (size_t i = 0; i < n && p[i].x <= x_max; i++)
        if (!frontier || p[i].frontier) {
            x[taken] = p[i].x;
            y[taken++] = p[i].y;
        }
    return taken;
}
