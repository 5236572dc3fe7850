/* links: specd_engine specd_cpu
 * labels: thread */
/* The mailbox: order kept per sender, nothing lost with many senders. */
#include "mailbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>

#define SENDERS 4
#define EACH 20000

static struct mailbox box;
static struct request *requests; /* (SENDERS, EACH) */

static void *sender(void *arg)
{
    struct request *mine = arg;
    for (int i = 0; i < EACH; i++)
        mailbox_put(&box, &mine[i]);
    return NULL;
}

static void test_order_and_completeness(void **state)
{
    (void)state;
    pthread_t threads[SENDERS];
    int next[SENDERS] = {0}, taken = 0;
    mailbox_init(&box);
    requests = calloc(SENDERS * EACH, sizeof *requests);
    for (int i = 0; i < SENDERS; i++)
        pthread_create(&threads[i], NULL, sender, requests + i * EACH);
    while (taken < SENDERS * EACH) {
        struct request *following;
        for (struct request *r = mailbox_take(&box); r; r = following) {
            following = r->next;
            int index = (int)(r - requests), from = index / EACH;
            assert_int_equal(index % EACH, next[from]++);
            taken++;
        }
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    assert_null(mailbox_take(&box));
    free(requests);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order_and_completeness)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
