/*
 * The joint law of sequences under token-by-token verification; see joint.h.
 *
 * links: specd_cpu
 */
#include "exact/joint.h"

static void test_joint_law(void **state)
{
    (void)state;
    joint_test(VERIFY_RATIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joint_law),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
